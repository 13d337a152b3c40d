"""Dense CRF in plain PyTorch: several images at once, on a GPU, and without a compiler.

The same lattice as `fast`: unique packed keys in place of a hash table, splat and slice as products
with sparse matrices. Two runs give the same bits on a CPU; on a GPU sums differ by rounding.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from wsss.refinement.densecrf.config import CRFConfig
from wsss.refinement.densecrf.features import (
    bilateral_features,
    lattice_alpha,
    lattice_scale,
    packing,
    position_features,
)


class TorchCRF:
    """Mean-field inference on a batch of images of any sizes.

    Args:
        images: (H, W, 3) uint8 RGB, or more bands, each.
        config: Kernels and number of iterations.
        device: torch's name of a device; None takes a GPU if there is one.

    Raises:
        ValueError: Kernels so narrow, on an image so large, that a vertex does not fit 64 bits.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        config: CRFConfig,
        device: torch.device | str | None = None,
    ) -> None:
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.sizes = [(int(image.shape[0]), int(image.shape[1])) for image in images]
        self.iterations = config.iterations
        self.kernels: list[_Kernel] = []
        for compat, bilateral in (
            (config.gaussian_compat, False),
            (config.bilateral_compat, True),
        ):
            if compat > 0:
                features = [_scaled(image, config, bilateral) for image in images]
                self.kernels.append(_Kernel(features, compat, self.device))

    def infer(self, unaries: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Infer (L, H, W) float32 marginals from the (L, H, W) float32 energies of each image.

        Images may have different numbers of labels.
        """
        # all images lie one after the other in one (N, L) tensor; fewer labels are filled up
        most = max(len(unary) for unary in unaries)
        logits = torch.cat(
            [_padded(torch.from_numpy(u).to(self.device).flatten(1), most) for u in unaries]
        )
        probabilities = logits.softmax(dim=1)
        for _ in range(self.iterations):
            messages = logits
            for kernel in self.kernels:
                # Potts model: a label is likelier where similar pixels have it
                messages = messages + kernel(probabilities)
            probabilities = messages.softmax(dim=1)
        counts = [height * width for height, width in self.sizes]
        return [
            # laid out by the device, whose memory is the faster one
            part[:, : len(unary)].T.contiguous().cpu().numpy().reshape(-1, *size)
            for part, unary, size in zip(
                probabilities.split(counts), unaries, self.sizes, strict=True
            )
        ]


class OneImage:
    """Mean-field inference on one image, with the interface of the other backends.

    Args:
        image: (H, W, 3) uint8 RGB, or more bands.
        config: Kernels and number of iterations.
    """

    def __init__(self, image: np.ndarray, config: CRFConfig) -> None:
        self.batch = TorchCRF([image], config)

    def infer(self, unary: np.ndarray) -> np.ndarray:
        """Infer (L, H, W) float32 marginals from (L, H, W) float32 energies."""
        return self.batch.infer([np.array(unary, dtype=np.float32, order="C")])[0]


class _Kernel:
    """One kernel over the pixels of all images, with its weight and normalisation."""

    def __init__(self, features: list[np.ndarray], compat: float, device: torch.device) -> None:
        # The images' lattices lie one after the other; none has neighbours in another.
        rows, weights, neighbours, first = [], [], [], 0
        for scaled in features:
            found = _lattice(torch.from_numpy(scaled).to(device), *packing(scaled))
            vertices = found[2].shape[1]
            # M of one image is a vertex of the next: marked by -1 until the number of all is known
            outside = found[2] == vertices
            rows.append(found[0] + first)
            weights.append(found[1])
            neighbours.append(torch.where(outside, -1, found[2] + first))
            first += vertices
        self.vertices = first
        all_neighbours = torch.cat(neighbours, dim=1)
        # the row behind all vertices, which __call__ appends as zeros
        self.neighbours = torch.where(all_neighbours < 0, first, all_neighbours)
        offsets, shares = torch.cat(rows), torch.cat(weights)
        self.alpha = lattice_alpha(offsets.shape[1] - 1)
        # filtered ones give the normalisation, before the kernel's own weight comes in
        self.compat = 1.0
        self._build(offsets, shares)
        ones = torch.ones(len(offsets), 1, device=device)
        # the library's symmetric normalisation, half of it at splat and half at slice; its 1e-20
        self._build(offsets, shares / (self(ones) + 1e-20).sqrt())
        self.compat = compat

    def _build(self, offsets: torch.Tensor, weights: torch.Tensor) -> None:
        """Build the sparse matrices of splat and slice."""
        pixels, corners = offsets.shape
        flat = offsets.flatten()
        # stable: a vertex adds its pixels up in their order, in every run
        order = flat.argsort(stable=True)
        ends = torch.bincount(flat, minlength=self.vertices).cumsum(0)
        starts = torch.cat([ends.new_zeros(1), ends])
        by_pixel = torch.arange(0, pixels * corners + 1, corners, device=offsets.device)
        values = weights.flatten()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
            # CSR by vertex: the pixel of an entry is its place in the flat list, divided by d + 1
            self.splat = torch.sparse_csr_tensor(
                starts,
                order // corners,
                values[order],
                (self.vertices, pixels),
                check_invariants=False,
            )
            self.slice = torch.sparse_csr_tensor(
                by_pixel, flat, values, (pixels, self.vertices), check_invariants=False
            )

    def __call__(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Filter (N, L) probabilities to (N, L) messages."""
        values = self.splat @ probabilities
        # blurred along one axis of the lattice after the other, each on the result of the last
        for pair in self.neighbours:
            padded = torch.cat([values, values.new_zeros(1, values.shape[1])])
            values = values + 0.5 * (padded[pair[:, 0]] + padded[pair[:, 1]])
        return self.slice @ (values * (self.alpha * self.compat))


def _scaled(image: np.ndarray, config: CRFConfig, bilateral: bool) -> np.ndarray:
    """Compute (d, N) float32 features of an image, times the lattice's scale."""
    if bilateral:
        return bilateral_features(image, config.bilateral_sxy, config.bilateral_srgb)
    height, width = image.shape[:2]
    features = position_features(height, width, config.gaussian_sxy).reshape(2, -1)
    return features * lattice_scale(2)[:, None]


def _padded(energies: torch.Tensor, labels: int) -> torch.Tensor:
    """Turn (L, N) energies to (N, labels) logits; labels that an image lacks are impossible."""
    logits = energies.new_full((energies.shape[1], labels), -math.inf)
    logits[:, : len(energies)] = -energies.T
    return logits


def _lattice(
    scaled: torch.Tensor, lowest: np.ndarray, shifts: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Build (N, d + 1) vertices 0..M-1, their weights, (d + 1, M, 2) neighbours, M for none.

    The steps are those of `lattice.lattice_builder`, with its comments.
    """
    count = scaled.shape[1]
    if count % 4:  # the library's last block of four is filled up with zeros
        scaled = torch.cat([scaled, scaled.new_zeros(len(scaled), 1)], dim=1)
    d, pixels = scaled.shape
    corners = d + 1
    elevated = scaled.new_empty(corners, pixels)
    sm = scaled.new_zeros(pixels)
    for j in range(d, 0, -1):
        elevated[j] = sm - j * scaled[j - 1]
        sm = sm + scaled[j - 1]
    elevated[0] = sm
    rounded = (elevated * np.float32(1.0 / corners)).round()
    nearest = rounded * corners
    rest = elevated - nearest
    rank = rounded.sum(dim=0).long().repeat(corners, 1)
    for i in range(d):
        for j in range(i + 1, corners):
            less = (rest[i] < rest[j]).long()
            rank[i] += less
            rank[j] += 1 - less
    wrap = corners * ((rank < 0).long() - (rank > d).long())
    rank += wrap
    nearest += wrap
    share = (elevated - nearest) * np.float32(1.0 / corners)
    weights = scaled.new_zeros(corners + 1, pixels)
    # barycentric weights (p. 5): each coordinate adds to one vertex and takes from the next
    weights.scatter_add_(0, d - rank, share)
    weights.scatter_add_(0, d - rank + 1, -share)
    weights[0] += 1 + weights[corners]
    places = torch.from_numpy(shifts).to(scaled.device)
    low = torch.from_numpy(lowest).to(scaled.device)
    # the last coordinate follows from the others, which add up to 0, and stays out of the key
    base = ((nearest[:d].long() - low[:, None]) << places[:, None]).sum(dim=0)
    ones = (torch.ones_like(places) << places).sum()
    step = torch.cat([corners * (torch.ones_like(places) << places), places.new_zeros(1)])
    # the axis that has each rank: the other vertices of the simplex step along them in turn
    of_rank = torch.empty_like(rank)
    of_rank.scatter_(0, rank, torch.arange(corners, device=rank.device)[:, None].expand_as(rank))
    keys = [base]
    for remainder in range(d):
        keys.append(keys[-1] + ones - step[of_rank[d - remainder]])
    unique, inverse = torch.stack(keys, dim=1).unique(return_inverse=True)
    neighbours = []
    # both neighbours along axis j, looked for among the sorted keys
    for j in range(corners):
        for move in (step[j] - ones, ones - step[j]):
            wanted = unique + move
            found = torch.searchsorted(unique, wanted).clamp(max=len(unique) - 1)
            neighbours.append(torch.where(unique[found] == wanted, found, len(unique)))
    stacked = torch.stack(neighbours).view(corners, 2, -1).transpose(1, 2)
    return inverse[:count], weights[:corners, :count].T.contiguous(), stacked
