"""Pictures: arrays in, arrays out."""

from wsss.visualisation.overlay import MAP_COLOUR, colour_mask, overlay_maps, overlay_mask
from wsss.visualisation.sheet import contact_sheet, strip

__all__ = ["MAP_COLOUR", "colour_mask", "contact_sheet", "overlay_maps", "overlay_mask", "strip"]
