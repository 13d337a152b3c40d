"""Masks in the formats of other tools: arrays in, text out."""
