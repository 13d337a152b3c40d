"""Names of labels as multi-hot vectors."""

import numpy as np

from wsss.data.config import DataConfig
from wsss.data.sources.items import Item


def label_vector(config: DataConfig, item: Item) -> np.ndarray:
    """Build the (K,) float32 multi-hot labels of an image, in the order of ``config.classes``.

    Raises:
        ValueError: A label that is not among the classes; the message names its file and line.
    """
    index = {name: k for k, name in enumerate(config.classes)}
    vector = np.zeros(len(index), dtype=np.float32)
    for name in item.labels or ():
        if name in index:
            vector[index[name]] = 1.0
        elif config.other_labels == "error":
            raise ValueError(
                f"{item.origin}: label {name!r} of image {item.image_id!r} is not among the "
                f"classes ({', '.join(index)}); add it to data.classes or set "
                "data.other_labels: ignore"
            )
    return vector
