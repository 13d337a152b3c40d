"""TokenCut, against its authors' steps with SciPy."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.test_hidden import IMAGES, small_body
from wsss import attribute
from wsss.attribution.tokencut import foreground
from wsss.models.hidden import HiddenStates

SIZE = (7, 9)


def planted(rows: slice, columns: slice, seed: int = 0) -> torch.Tensor:
    """Features of cells, of which those of a window are alike, and the others too."""
    noise = torch.randn(12, *SIZE, generator=torch.Generator().manual_seed(seed))
    cells = 0.4 * noise
    cells[0] += 2
    cells[0, rows, columns] -= 2
    cells[1, rows, columns] += 2
    return cells


def reference(cells: torch.Tensor) -> np.ndarray:
    """YangtaoWANG95/TokenCut, ncut and the object that holds the seed."""
    linalg = pytest.importorskip("scipy.linalg")
    ndimage = pytest.importorskip("scipy.ndimage")
    features = cells.flatten(1).numpy().astype(np.float64)
    features = features / np.linalg.norm(features, axis=0)
    ties = (features.T @ features > 0.2).astype(np.float64)
    ties = np.where(ties == 0, 1e-5, ties)
    degree = np.diag(ties.sum(axis=1))
    _, vectors = linalg.eigh(degree - ties, degree, subset_by_index=[1, 2])
    second = vectors[:, 0]
    above = second > second.mean()
    seed = int(np.argmax(np.abs(second)))
    if not above[seed]:
        above = ~above
    parts, _ = ndimage.label(above.reshape(cells.shape[1:]))
    return parts == parts.reshape(-1)[seed]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "window", [(slice(0, 3), slice(0, 3)), (slice(5, 7), slice(6, 9)), (slice(2, 5), slice(3, 8))]
)
def test_the_cut_is_its_authors(window, seed):
    cells = planted(*window, seed=seed)
    found = foreground(cells)
    np.testing.assert_array_equal(found.numpy() > 0, reference(cells))
    inside = torch.zeros(SIZE, dtype=torch.bool)
    inside[window] = True
    assert ((found > 0) == inside).float().mean() > 0.9


def test_a_second_object_is_left_to_others():
    cells = planted(slice(0, 3), slice(0, 4))
    other = planted(slice(5, 7), slice(7, 9))
    both = torch.where(other[1] > 1, other, cells)
    found = foreground(both) > 0
    np.testing.assert_array_equal(found.numpy(), reference(both))
    assert found[0, 0]
    assert not found[6, 8]


def test_keys_of_a_vision_transformer():
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = small_body("vit_small_patch16_dinov3")
            self.head = nn.Conv2d(32, 3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(images)).mean(dim=(2, 3))

    model = Classifier().eval()
    keys = HiddenStates(model.body, ["network.blocks.2.keys"])(IMAGES)["network.blocks.2.keys"]
    labels = torch.tensor([[1, 0, 1], [0, 1, 0]])
    found = attribute(
        model, IMAGES, labels, method="tokencut", layers=["body"], size=keys.shape[2:]
    )
    expected = torch.stack([foreground(one) for one in keys])
    torch.testing.assert_close(found.maps, expected[[0, 0, 1]])


def test_features_of_a_convolutional_network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    ).eval()
    images = torch.randn(1, 3, 14, 12)
    found = attribute(model, images, 0, method="tokencut", layers=["1"], size=(12, 10)).maps[0]
    torch.testing.assert_close(found, foreground(model[:2](images)[0].detach()))


def test_many_cells_are_averaged_first():
    cells = planted(slice(0, 3), slice(0, 4))
    large = cells.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)  # 56 x 72 cells
    found = foreground(large)
    assert found.shape == (35, 45)
    inside = torch.zeros(SIZE, dtype=torch.bool)
    inside[0:3, 0:4] = True
    enlarged = nn.functional.interpolate(inside[None, None].float(), (35, 45))[0, 0] > 0
    assert ((found > 0) == enlarged).float().mean() > 0.95
