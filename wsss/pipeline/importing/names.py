"""Photographs that an annotation tool names in its own way."""

import re
from collections.abc import Sequence

from wsss.data.images import composed, is_image_name
from wsss.data.sources.items import file_name
from wsss.pipeline.exporting.source import Photograph

_RENAMED = (
    re.compile(r"^[0-9a-f]{8}-(.+)$"),  # Label Studio, of what was uploaded
    re.compile(
        r"^(.+)_(?:jpe?g|png|bmp|webp|tiff?)\.rf\.\w+(?:\.\w+)?$", re.IGNORECASE
    ),  # Roboflow
)
"""Names that tools give to files, with the part that was the name before."""


class Names:
    """Search of photographs by what a tool calls them.

    Tools put folders before a name, or leave them out, and change the suffix for that of their own
    files. The longest part of the name, from its end, that is a whole name or id counts; else the
    one photograph whose name ends so.

    Args:
        photographs: The photographs.
    """

    def __init__(self, photographs: Sequence[Photograph]) -> None:
        self._whole: dict[str, Photograph] = {}
        self._endings: dict[str, list[Photograph]] = {}
        for photograph in photographs:
            for name in (photograph.image_id, photograph.picture.name):
                self._whole[composed(name)] = photograph
                parts = composed(name).split("/")
                for start in range(1, len(parts)):
                    known = self._endings.setdefault("/".join(parts[start:]), [])
                    if photograph not in known:
                        known.append(photograph)

    def find(self, name: str, origin: str) -> Photograph | None:
        """Find a photograph; None where there is none of that name.

        Raises:
            ValueError: It can be one of several; the message names them.
        """
        folder, slash, last = composed(file_name(name)).rpartition("/")
        original = [match[1] for pattern in _RENAMED if (match := pattern.match(last))]
        for candidate in (last, *original):
            found = self._find(folder + slash + candidate, origin)
            if found is not None:
                return found
        return None

    def _find(self, name: str, origin: str) -> Photograph | None:
        bare = name.rpartition(".")[0] if is_image_name(name) else name
        for wanted in (name, bare):
            parts = wanted.split("/")
            for start in range(len(parts)):
                found = self._whole.get("/".join(parts[start:]))
                if found is not None:
                    return found
        for wanted in (name, bare):
            ending = self._endings.get(wanted, [])
            if len(ending) > 1:
                raise ValueError(
                    f"{origin}: {name} may be any of "
                    f"{', '.join(photograph.image_id for photograph in ending)}; keep the folders "
                    "when you upload photographs"
                )
            if ending:
                return ending[0]
        return None
