"""The boundary network: its losses pair by pair, a planted square, and the way to the walk."""

import json
import math
import threading

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import CPU, SHAPES, SMALL
from wsss.models import BackboneConfig, build_classifier
from wsss.models.boundary import BoundaryHead
from wsss.pipeline.train_boundary import train_boundary
from wsss.refinement import LabelMaps, Picture, RefinementChain
from wsss.refinement.maps import Context
from wsss.refinement.walk import WalkConfig
from wsss.refinement.walk.boundary import path
from wsss.tasks import range_test, trainer
from wsss.tasks.boundary import PairLosses, pair_losses
from wsss.tasks.boundary_network import BoundaryNetwork
from wsss.tasks.checkpoint import kind_of, load_boundary
from wsss.tasks.guides import Guides, resized
from wsss.tasks.optim import OptimConfig


def slow_losses(boundary: np.ndarray, labels: np.ndarray, radius: int) -> list[float]:
    """Pair by pair: the three means of -log a, -log a and -log(1 - a)."""
    found: list[list[float]] = [[], [], []]
    height, width = labels.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    for i, a in enumerate(cells):
        for b in cells[i + 1 :]:
            apart = b[0] - a[0], b[1] - a[1]
            if math.hypot(*apart) > radius or 255 in (labels[a], labels[b]):
                continue
            affinity = 1 - max(boundary[a[0] + dy, a[1] + dx] for dy, dx in path(apart))
            if labels[a] != labels[b]:
                found[2].append(-math.log(1 - affinity))
            else:
                found[int(labels[a] > 0)].append(-math.log(affinity))
    return [float(np.mean(part)) if part else 0.0 for part in found]


class TestLosses:
    @pytest.mark.parametrize("radius", [1, 3, 10])
    def test_they_are_those_of_a_loop_over_pairs(self, radius):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(1, 5, 6, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 3, (1, 5, 6), generator=generator)
        labels[0, 2, 1:4] = 255
        expected = slow_losses(logits[0].sigmoid().numpy(), labels[0].numpy(), radius)
        found = pair_losses(logits, labels, radius)
        assert [float(part) for part in found] == pytest.approx(expected, rel=1e-9)
        total = expected[0] / 4 + expected[1] / 4 + expected[2] / 2
        assert float(found.total()) == pytest.approx(total, rel=1e-9)

    def test_unsure_pixels_teach_nothing(self):
        logits = torch.randn(1, 6, 6, requires_grad=True)
        labels = torch.full((1, 6, 6), 255)
        loss = pair_losses(logits, labels, 3).total()
        loss.backward()
        assert float(loss.detach()) == 0
        assert not logits.grad.any()

    def test_of_two_images_the_pairs_count_and_not_the_images(self):
        logits = torch.randn(2, 6, 6, dtype=torch.float64)
        labels = torch.zeros(2, 6, 6, dtype=torch.int64)
        labels[1] = 255
        labels[1, 0, :2] = 0
        one, few = (pair_losses(logits[i : i + 1], labels[i : i + 1], 1) for i in (0, 1))
        both = pair_losses(logits, labels, 1)
        # 60 pairs of neighbours in the first image, and one in the second
        expected = (60 * one.background + few.background) / 61
        torch.testing.assert_close(both, PairLosses(expected, *both[1:]))


def planted() -> tuple[torch.Tensor, torch.Tensor]:
    """A grey square on another grey with noise, (1, 3, 96, 96), and its labels at stride 4."""
    image = torch.full((1, 3, 96, 96), -1.0)
    image[:, :, 32:64, 32:64] = 1.0
    labels = torch.zeros(1, 24, 24, dtype=torch.int64)
    labels[:, 8:16, 8:16] = 2
    generator = torch.Generator().manual_seed(0)
    return image + 0.1 * torch.randn(image.shape, generator=generator), labels


def test_it_learns_the_border_of_a_square():
    torch.manual_seed(0)
    network = BoundaryNetwork(build_classifier(BackboneConfig(name="narrow_resnet10"), 2))
    image, labels = planted()
    optimizer = torch.optim.Adam(network.head.parameters(), lr=0.02)
    before = {name: value.clone() for name, value in network.classifier.state_dict().items()}
    losses = []
    for _ in range(60):
        loss = pair_losses(network(image), labels, 4).total()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    for name, value in network.classifier.state_dict().items():
        assert torch.equal(value, before[name]), name
    found = network(image).sigmoid()[0].detach()
    border = torch.zeros(24, 24, dtype=torch.bool)
    border[8:16, 8:16] = True
    border[9:15, 9:15] = False
    far = torch.ones(24, 24, dtype=torch.bool)
    far[5:19, 5:19] = False
    far[11:13, 11:13] = True
    assert found[border].mean() > 0.4
    assert found[far].mean() < 0.1


def test_the_scale_of_the_features_does_not_matter():
    """Folded and unfolded weights differ by it."""
    torch.manual_seed(0)
    head = BoundaryHead([8, 16])
    features = [torch.randn(2, 8, 12, 10), torch.randn(2, 16, 6, 5)]
    found = head(features, (12, 10))
    assert found.shape == (2, 12, 10)
    scaled = head([100 * one for one in features], (12, 10))
    torch.testing.assert_close(scaled, found, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def trained(shapes, classifier_checkpoint, tmp_path_factory):
    return train_boundary(
        shapes, shapes.root / shapes.masks, classifier_checkpoint,
        tmp_path_factory.mktemp("boundary") / "run", augment=SMALL, radius=4, epochs=1,
        batch_size=6, trainer=CPU,
    )  # fmt: skip


class TestCommand:
    def test_the_checkpoint_holds_the_network(self, trained, classifier_checkpoint):
        assert kind_of(trained) == "boundary"
        network = load_boundary(trained)
        logits = network(torch.randn(1, 3, 50, 67))
        assert logits.shape == (1, 13, 17)
        assert not network.training
        with pytest.raises(ValueError, match="expected a boundary written by train_boundary"):
            load_boundary(classifier_checkpoint)

    def test_a_rate_that_was_found_is_kept(
        self, shapes, classifier_checkpoint, tmp_path, monkeypatch
    ):
        """Given again, the training goes on with it."""
        monkeypatch.setattr(range_test, "STEPS", 20)
        settings = {
            "optim": OptimConfig("adamw", lr="auto"), "augment": SMALL, "radius": 2, "epochs": 1,
            "batch_size": 6, "trainer": CPU,
        }  # fmt: skip
        given = shapes, shapes.root / shapes.masks, classifier_checkpoint, tmp_path / "run"
        last = train_boundary(*given, **settings)
        rate = torch.load(last, weights_only=True)["wsss"]["lr"]
        # its own, not that of the classifier whose description it continues
        assert rate == json.loads((last.parent / "manifest.json").read_text())["learning_rate"]
        monkeypatch.setattr(trainer, "find_learning_rate", lambda *_: pytest.fail("searched again"))
        again = train_boundary(*given, **settings)
        assert torch.load(again, weights_only=True)["wsss"]["lr"] == rate > 0

    def test_masks_must_be_there(self, shapes, classifier_checkpoint, tmp_path):
        with pytest.raises(FileNotFoundError, match="12 masks are missing"):
            train_boundary(shapes, tmp_path, classifier_checkpoint, tmp_path / "o")

    def test_the_walk_is_that_of_its_map(self, trained):
        """The step's scores, by hand: times 1 - boundary, and boundaries between cells."""
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
        scores = rng.random((3, 40, 56), dtype=np.float32)
        networks = Guides()
        found = networks.boundary(image, trained, None)
        assert found.shape == (10, 14)
        mirrored = networks.boundary(image[:, ::-1].copy(), trained, None)
        np.testing.assert_allclose(mirrored[:, ::-1], found, atol=1e-5)
        config = WalkConfig(affinity="boundary", checkpoint=trained, stride=4, steps=0)
        (refined,) = RefinementChain((config,)).prepare([Picture(image)], Context("cpu", networks))(
            [LabelMaps(scores, marginals=False)]
        )
        cells = scores.reshape(3, 10, 4, 14, 4).mean(axis=(2, 4))
        cells[1:] *= 1 - found
        full = [cv2.resize(one, (56, 40)) for one in cells]
        ratios = [1, *(scores[c].max() / full[c].max() for c in (1, 2))]
        expected = [one * ratio for one, ratio in zip(full, ratios, strict=True)]
        np.testing.assert_allclose(refined.values, expected, atol=1e-5)
        # that two cells are parted by a boundary between them, tests/refinement/test_walk.py shows
        (marginals,) = RefinementChain((config,)).prepare(
            [Picture(image)], Context("cpu", networks)
        )([LabelMaps(scores / scores.sum(axis=0), marginals=True)])
        np.testing.assert_allclose(marginals.values.sum(axis=0), 1, atol=1e-5)


class TestGuides:
    def test_features_of_threads_are_their_own(self, classifier_checkpoint):
        networks = Guides()
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 256, (48 + 16 * i, 64, 3), dtype=np.uint8) for i in range(4)]

        def ask(image):
            return networks.features(image, classifier_checkpoint, ("features.5",), None)[0]

        alone = [ask(image) for image in images]
        found: list = [None] * 4
        threads = [
            threading.Thread(target=lambda i=i: found.__setitem__(i, ask(images[i])))
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_array_equal(one, other)
        assert len({id(networks._loaded[classifier_checkpoint])}) == len(networks._loaded) == 1

    def test_layers_of_the_backbone(self, classifier_checkpoint):
        networks = Guides()
        image = np.zeros((64, 64, 3), np.uint8)
        assert len(networks.features(image, classifier_checkpoint, None, None)) == 3
        named = ("features.5", "backbone.features.10")
        five, ten = networks.features(image, classifier_checkpoint, named, None)
        assert five.shape[0] == 256
        assert ten.shape[0] == 512
        with pytest.raises(ValueError, match=r"walk.layers: .* has no layer 'features.55', but "):
            networks.features(image, classifier_checkpoint, ("features.55",), None)

    def test_a_network_of_another_kind_is_named(self, classifier_checkpoint):
        image = np.zeros((64, 64, 3), np.uint8)
        with pytest.raises(ValueError, match=r"a boundary network .* found a classifier in"):
            Guides().boundary(image, classifier_checkpoint, None)
        with pytest.raises(ValueError, match="expected a vision transformer"):
            Guides().attention(image, classifier_checkpoint, 2, None)

    def test_the_size_that_a_network_sees(self):
        image = np.zeros((50, 100, 3), np.uint8)
        assert resized(image, None) is image
        assert resized(image, 40).shape == (20, 40, 3)
        assert resized(image[:1], 40).shape == (1, 40, 3)

    def test_a_walk_by_features_is_made_by_the_network(self, classifier_checkpoint):
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
        scores = np.zeros((len(SHAPES) + 1, 64, 80), np.float32)
        scores[1:, 20:40, 20:40] = 1  # even maps would stay, whatever the layer
        found = []
        for layer in ("features.5", "features.12"):
            config = WalkConfig("features", classifier_checkpoint, (layer,), stride=8, steps=4)
            refine = RefinementChain((config,)).prepare([Picture(image)], Context("cpu", Guides()))
            found.append(refine([LabelMaps(scores, marginals=False)])[0].values)
        assert np.abs(found[0] - found[1]).max() > 0.01
