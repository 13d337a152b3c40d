"""Description of an exported network, in the metadata of its file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from wsss.normalisation import Normalisation


@dataclass(frozen=True)
class Description:
    """Description of an exported network.

    It lies in the file as one text of JSON for each field, under ``wsss.<field>``.

    Args:
        kind: ``segmenter``, ``classifier`` or ``text_classifier``.
        classes: Names of the K classes with their mask values, in the order of the outputs.
        palette: Colours ``#rrggbb`` of the background and the K classes.
        normalisation: Mean and deviation, in [0, 1], of each band: inside the graph already.
        outputs: Names of the outputs.
        size: (height, width) of the images of a file for one size alone; None takes any from
            ``least_side`` on.
        least_side: Pixels of the shortest side for which the file was found to give what torch
            does.
        bits: 32 for float32, 8 for a quantised network.
        licence: Note on the licence of the weights.
        checkpoint_sha256: SHA-256 of the checkpoint that it was made from.
        version: Version of wsss that made it.
    """

    kind: str
    classes: Mapping[str, int]
    palette: tuple[str, ...]
    normalisation: Normalisation
    outputs: tuple[str, ...]
    size: tuple[int, int] | None
    least_side: int
    bits: int
    licence: str
    checkpoint_sha256: str
    version: str

    @property
    def bands(self) -> int:
        """Number of bands of the images that it takes."""
        return len(self.normalisation.mean)

    @property
    def mask_values(self) -> list[int]:
        """Mask value of each label: 0 for the background, then those of the classes."""
        return [0, *self.classes.values()]

    def metadata(self) -> dict[str, str]:
        """Write it as the metadata of a file."""
        return {f"{_PREFIX}{key}": json.dumps(value) for key, value in self.plain().items()}

    def plain(self) -> dict[str, Any]:
        """Write it as plain values; mask values stand there a second time, as a list."""
        return {**asdict(self), "mask_values": self.mask_values}

    @classmethod
    def of(cls, metadata: Mapping[str, str], source: object) -> "Description":
        """Read the metadata of a file.

        Args:
            metadata: Texts by key; others than ours are left alone.
            source: The file, for the error.

        Raises:
            ValueError: It is none that export_model has written.
        """
        try:
            values: dict[str, Any] = {
                field.name: json.loads(metadata[f"{_PREFIX}{field.name}"]) for field in fields(cls)
            }
            colours, size = values["normalisation"], values["size"]
            return cls(
                **{
                    **values,
                    "palette": tuple(values["palette"]),
                    "outputs": tuple(values["outputs"]),
                    "normalisation": Normalisation(tuple(colours["mean"]), tuple(colours["std"])),
                    "size": None if size is None else (size[0], size[1]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"checkpoint {source}: expected a file of wsss export_model, whose metadata "
                f"describes the network; {type(error).__name__}: {error}"
            ) from error


_PREFIX = "wsss."
