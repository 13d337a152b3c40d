"""Masks from files and the rules by which they vote with the maps; `wsss.refinement.merge`."""
