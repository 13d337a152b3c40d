"""``cls_labels.npy`` of irn, psa and their descendants: a pickled dict of id to multi-hot.

Unpickling can run any code. Here it can build dicts, arrays, numbers and texts, and nothing else.
"""

import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsss.data.storage import readable


class _Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, text: object = None, *_: object) -> None:
        self.value = np.dtype(text) if isinstance(text, str) else None
        if self.value is None or self.value.kind not in "biufSUO":
            raise pickle.UnpicklingError(f"it has the dtype {text!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        assert self.value is not None
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array:
    """Stands for numpy.ndarray, whose own ``__setstate__`` believes what it is told."""

    def __init__(self, *_: object) -> None:
        self.value: np.ndarray = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, content = state
        self.fill(shape, dtype, "F" if by_columns else "C", content)

    def fill(self, shape: Any, dtype: _Dtype, order: Any, content: Any) -> None:
        kind = dtype.value
        assert kind is not None
        # objects were built by the unpickler already, and no bytes stand for them
        if kind.hasobject:
            flat = np.empty(len(content), dtype=object)
            flat[:] = content
        else:  # Python 2 wrote texts
            content = content.encode("latin-1") if isinstance(content, str) else bytes(content)
            flat = np.frombuffer(content, dtype=kind)
        self.value = flat.reshape(shape, order=order)


def _from_buffer(content: Any, dtype: _Dtype, shape: Any, order: Any, *_: object) -> _Array:
    array = _Array()
    array.fill(shape, dtype, order, content)
    return array


def _scalar(dtype: _Dtype, content: Any) -> Any:
    return _from_buffer(content, dtype, (), "C").value[()]


def _encoded(text: str, _: object) -> bytes:
    return text.encode("latin-1")


def _new_array(*_: object) -> _Array:
    return _Array()


_KNOWN: dict[str, dict[str, Any]] = {
    "multiarray": {"_reconstruct": _new_array, "scalar": _scalar},
    "numeric": {"_frombuffer": _from_buffer},
    "numpy": {"ndarray": _Array, "dtype": _Dtype},
    "_codecs": {"encode": _encoded},
}
_MODULES = {
    "numpy": "numpy",
    "_codecs": "_codecs",
    **{f"numpy.{core}.{name}": name for core in ("core", "_core") for name in list(_KNOWN)[:2]},
}


class _Unpickler(pickle.Unpickler):
    """Knows what NumPy writes for arrays and numbers, by the stand-ins above, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name in the file.

        Raises:
            pickle.UnpicklingError: There is none.
        """
        found = _KNOWN.get(_MODULES.get(module, ""), {}).get(name)
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, no array or number")
        return found


def load_dict(path: Path) -> dict[Any, Any]:
    """Load the dict that ``np.save`` has written, without running anything that the file names.

    Args:
        path: A ``.npy`` file of a 0-dimensional object array.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a file, or one that asks for more than arrays, numbers and texts.
    """
    source = readable(path, "label file")
    content = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    file = io.BytesIO(content)
    try:
        # np.load would unpickle whatever the file names; only the header is read as it does
        version = np.lib.format.read_magic(file)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = reader(file)
        if len(shape) or dtype != np.dtype(object):
            raise ValueError(f"it holds an array {shape} of {dtype}")
        array = _Unpickler(file, encoding="latin1").load()
        found = array.value[()] if isinstance(array, _Array) and array.value.shape == () else array
    except Exception as error:  # a damaged pickle raises anything at all
        raise ValueError(
            f"{path}: expected a dict of labels as np.save writes it: {error}"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a dict of labels, found {type(found).__name__}")
    return {
        key: value.value if isinstance(value, _Array) else value for key, value in found.items()
    }


def read_label_arrays(
    path: Path, ids: Sequence[str], classes: Mapping[str, int]
) -> Mapping[str, tuple[list[str], str]]:
    """Read the names of the labels of each image from multi-hot arrays.

    Entry ``v - 1`` of an array stands for the class with the mask value ``v``, as in irn, psa and
    the COCO files of their kind. Keys are ids, or the integers that irn makes of them: of
    ``2007_000032`` all digits, of ``COCO_train2014_000000000009`` the last group.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No entry for an id, or one that is no array of 0 and 1; names the id.
    """
    found = {str(key): value for key, value in load_dict(path).items()}
    names = {value: name for name, value in classes.items()}
    labels = {}
    for image_id in ids:
        where = f"{path}, entry {image_id!r}"
        key = image_id if image_id in found else _number(image_id)
        if key not in found:
            raise ValueError(
                f"{path}: no entry for {image_id!r}; its entries are "
                f"{', '.join(map(repr, list(found)[:3]))}, ..."
            )
        vector = found[key]
        if (
            not isinstance(vector, np.ndarray)
            or vector.ndim != 1
            or vector.dtype.kind not in "biuf"
            or not np.isin(vector, (0, 1)).all()
        ):
            raise ValueError(f"{where}: expected an array (K,) of 0 and 1")
        # a value without a class gets a name that `other_labels` refuses or ignores
        values = (np.flatnonzero(vector) + 1).tolist()
        labels[image_id] = ([names.get(v, f"number {v}") for v in values], where)
    return labels


def _number(image_id: str) -> str:
    """Convert an id to the integer that irn makes of it, as text."""
    # 2007_000032 has digits only; of COCO_train2014_000000000009 the last group counts
    digits = image_id.replace("_", "")
    if not (digits.isascii() and digits.isdigit()):
        digits = image_id.rpartition("_")[2]
    return str(int(digits)) if digits.isascii() and digits.isdigit() else ""
