"""Masks in the formats of other tools: arrays in, text out, and what people make of it back."""
