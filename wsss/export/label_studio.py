"""Label Studio tasks with brush masks as predictions, to be corrected by hand.

The run lengths are those of the npm package ``@thi.ng/rle-pack``, which Label Studio's brush uses:
a stream of bits that holds the number of values (32 bits), the bits of a value less 1 (5), four
sizes of counters less 1 (4 each), and then the runs: a bit that is 1 for repeated values, which
counter is used (2), the count less 1, and the value. The values are the bytes of an RGBA picture.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from wsss.export.regions import Picture, Region

_COUNTERS = (3, 4, 8, 16)
_LONGEST = 1 << _COUNTERS[-1]


@dataclass(frozen=True)
class LabelStudioConfig:
    """Address at which Label Studio finds the photographs.

    Args:
        prefix: Text put before an image's path below the folder of the images, such as
            https://host/folder/; null: local files of Label Studio's own machine, with the data
            set's folder as its LOCAL_FILES_DOCUMENT_ROOT.
    """

    prefix: str | None = None


def label_studio_json(
    pictures: Sequence[Picture],
    regions: Iterable[Sequence[Region]],
    *,
    prefix: str,
    made_by: str,
) -> Iterator[str]:
    """Yield tasks for Label Studio's import, piece by piece; they belong to `label_studio_xml`.

    Args:
        pictures: The images.
        regions: Regions of each image, in the same order; asked for one image at a time.
        prefix: Text put before the name of an image to give its address.
        made_by: The predictions' ``model_version``.
    """
    yield "["
    for number, (picture, found) in enumerate(zip(pictures, regions, strict=True)):
        result = [_region(region, picture, f"region{n}") for n, region in enumerate(found, 1)]
        task = {
            "data": {"image": prefix + quote(picture.name)},
            "predictions": [{"model_version": made_by, "result": result}],
        }
        yield (",\n" if number else "\n") + json.dumps(task, ensure_ascii=False)
    yield "]\n"


def label_studio_xml(colours: Mapping[str, str]) -> str:
    """Labelling configuration with the name of each class, and its colour as ``#rrggbb``."""
    labels = "".join(
        f"    <Label value={quoteattr(name)} background={quoteattr(colour)}/>\n"
        for name, colour in colours.items()
    )
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="tag" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
    )


def brush_rle(mask: np.ndarray) -> list[int]:
    """Encode a mask in Label Studio's run lengths.

    Args:
        mask: (H, W) uint8 or bool; what is not 0 becomes opaque white, the rest transparent.

    Returns:
        Bytes as numbers, the bits filled up with 0.
    """
    flat = np.asarray(mask).ravel() != 0
    starts = np.flatnonzero(np.append(True, flat[1:] != flat[:-1]))
    # four equal bytes a pixel: red, green, blue and opacity
    lengths = 4 * np.diff(np.append(starts, flat.size))
    bits = [f"{4 * flat.size:032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in _COUNTERS)]
    for length, inside in zip(lengths.tolist(), flat[starts].tolist(), strict=True):
        value = "11111111" if inside else "00000000"
        while length:
            # a run longer than the largest counter holds is written as several
            count = min(length, _LONGEST)
            # the smallest counter that holds it
            which = next(i for i, size in enumerate(_COUNTERS) if count <= 1 << size)
            bits.append(f"1{which:02b}{count - 1:0{_COUNTERS[which]}b}{value}")
            length -= count
    # as one number in base 2, which Python turns into bytes at once
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def brush_mask(rle: Sequence[int], height: int, width: int) -> np.ndarray:
    """Decode Label Studio's run lengths.

    Args:
        rle: Bytes as numbers, as `brush_rle` and Label Studio itself write them.
        height: Rows of the picture.
        width: Columns of the picture.

    Returns:
        (height, width) bool, the pixels that are not wholly transparent.

    Raises:
        ValueError: They are damaged, or belong to a picture of another size.
    """
    try:
        bits = np.unpackbits(np.array(rle, dtype=np.uint8))
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"rle: expected a list of bytes, 0..255: {error}") from error
    # numbers are read from the text, since Python reads any number of binary digits at once
    text = "".join(map(str, bits.tolist()))
    head = 32 + 5 + 4 * len(_COUNTERS)
    if len(text) < head or int(text[:32], 2) != 4 * height * width or int(text[32:37], 2) != 7:
        raise ValueError(
            f"rle: expected run lengths of {height} x {width} x 4 bytes, of the picture's red, "
            "green, blue and opacity"
        )
    counters = [int(text[place : place + 4], 2) + 1 for place in range(37, head, 4)]
    values = np.zeros(4 * height * width, dtype=np.uint8)
    place, done = head, 0
    while done < len(values):
        counter = counters[int(text[place + 1 : place + 3] or "0", 2)]
        first = place + 3 + counter
        if first + 8 > len(text):
            raise ValueError("rle: ends within a run")
        count = int(text[place + 3 : first], 2) + 1
        if text[place] == "1":
            values[done : done + count] = int(text[first : first + 8], 2)
            place = first + 8
        else:  # values one by one
            place = first + 8 * count
            part = np.packbits(bits[first:place])
            values[done : done + count] = part[: len(values) - done]
        done += count
    return values.reshape(height, width, 4)[..., 3] > 0


def _region(region: Region, picture: Picture, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "image_rotation": 0,
        "original_width": picture.width,
        "original_height": picture.height,
        "value": {
            "format": "rle",
            "rle": brush_rle(region.whole(picture)),
            "brushlabels": [region.category],
        },
    }
