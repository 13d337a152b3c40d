"""Backends of the dense CRF. `wsss.refinement.crf` checks what they are given."""
