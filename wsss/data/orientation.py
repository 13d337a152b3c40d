"""Orientation that a camera noted in EXIF."""

from PIL import ExifTags, Image

SIDEWAYS = (5, 6, 7, 8)
"""Orientations that exchange width and height."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What each orientation of EXIF asks for."""


def upright(image: Image.Image) -> Image.Image:
    """Decode an image and turn it as its EXIF says.

    Pillow's own function writes the EXIF anew, which fails where a camera's other notes are odd.
    Metadata that cannot be read turn nothing.

    Args:
        image: Just opened.
    """
    # first: of a TIFF, decoding turns the pixels already, and takes the note away
    image.load()
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """Read the orientation in an image's EXIF, 1..8; 1 without one that can be read."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata raise nearly everything
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1
