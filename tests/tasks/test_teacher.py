"""Distillation: a network that learns another's probabilities beside the masks."""

import cv2
import numpy as np
import pytest
import torch

from tests.tasks.test_finite import segment
from wsss.data import load_records, read_mask
from wsss.data.datasets import MaskedImages, soft_labels
from wsss.data.masks import LabelMap
from wsss.data.scores import Scores, stored_size, write_scores
from wsss.data.transforms import AugmentConfig, train_transform
from wsss.normalisation import IMAGENET
from wsss.pipeline.predict import predict
from wsss.tasks.losses import cross_entropy, soft_cross_entropy

LABELS = LabelMap([10, 20, 30])


def stored(path, size, classes, values):
    planes = np.empty((len(classes), *stored_size(size)), np.uint8)
    planes[:] = np.array(values, np.uint8)[:, None, None]
    write_scores(path, Scores(np.array(classes, np.uint8), planes, size))
    return path


class TestSoftLabels:
    def test_the_background_has_the_rest(self, tmp_path):
        path = stored(tmp_path / "a.npz", (9, 13), [30, 10], [51, 102])
        found = soft_labels(path, LABELS, (9, 13))
        assert found.shape == (4, 9, 13)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found[:, 4, 4], [102, 102, 0, 51])

    def test_more_than_one_in_all_is_divided(self, tmp_path):
        path = stored(tmp_path / "a.npz", (8, 8), [10, 20], [255, 255])
        np.testing.assert_array_equal(soft_labels(path, LABELS, (8, 8))[:, 0, 0], [0, 128, 128, 0])

    def test_another_size_and_another_class_are_refused(self, tmp_path):
        path = stored(tmp_path / "a.npz", (8, 12), [10], [255])
        with pytest.raises(ValueError, match=r"a\.npz: scores of an image of 12 x 8 pixels, but"):
            soft_labels(path, LABELS, (12, 8))
        path = stored(tmp_path / "b.npz", (8, 12), [11], [255])
        with pytest.raises(ValueError, match=r"b\.npz: value 11 belongs to no class"):
            soft_labels(path, LABELS, (8, 12))


def test_they_move_with_the_image_and_padding_is_told(shapes, tmp_path):
    records = load_records(shapes, "train", with_labels=False)
    label_map = LabelMap(list(shapes.classes.values()))
    masks = [record.mask for record in records]
    soft = []
    for record in records:
        index = label_map.to_index(read_mask(record.mask), "m")
        # as sure as the grid of stored scores allows
        size = stored_size(index.shape)[::-1]
        each = [(index == k + 1) * np.float32(255) for k in range(len(shapes.classes))]
        planes = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in each])
        values = np.array(list(shapes.classes.values()), np.uint8)
        path = tmp_path / f"{record.image_id}.npz"
        write_scores(path, Scores(values, planes.astype(np.uint8), index.shape))
        soft.append(path)
    augment = AugmentConfig(crop=96, long_side=(72, 90), flip=0.5)
    transform = train_transform(augment, IMAGENET)
    images = MaskedImages(records, masks, label_map, transform, IMAGENET, soft=soft)
    agree, mirrored, inside = [], [], []
    for place in range(len(records)):
        image, labels, planes = images[(place, place, 0)]
        assert planes.shape == (label_map.num_labels, 96, 96)
        padding = (planes == 255).all(dim=0)
        # where the photograph's mean colour stands there are no probabilities, and no label
        assert (labels[padding] == 255).all()
        torch.testing.assert_close(
            image[:, padding], torch.zeros_like(image[:, padding]), atol=0.02, rtol=0
        )
        inside.append(float((~padding).float().mean()))
        labelled = labels != 255
        best = planes.argmax(dim=0)
        agree.append(float((best == labels)[labelled].float().mean()))
        mirrored.append(float((best.flip(1) == labels)[labelled].float().mean()))
    assert 0.5 < min(inside) < 0.9
    assert min(agree) > 0.93, "but for the edges, which were stored at a quarter"
    assert np.mean(mirrored) < np.mean(agree) - 0.1


def test_loss_by_hand():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    soft = torch.randint(1, 255, (2, 3, 4, 5), generator=generator).to(torch.uint8)
    soft[1, :, 2:] = 255
    total, count = 0.0, 0
    for b in range(2):
        for y in range(4):
            for x in range(5):
                if b == 1 and y >= 2:
                    continue
                shares = soft[b, :, y, x].double() / soft[b, :, y, x].double().sum()
                total -= float((shares * logits[b, :, y, x].log_softmax(0)).sum())
                count += 1
    assert float(soft_cross_entropy(logits, soft)) == pytest.approx(total / count, rel=1e-6)
    assert float(soft_cross_entropy(logits, torch.full_like(soft, 255))) == 0
    # probabilities of 1 are labels
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    sure = 255 * torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).to(torch.uint8)
    torch.testing.assert_close(
        soft_cross_entropy(logits, sure), cross_entropy(logits, labels), rtol=1e-6, atol=0
    )


def test_a_training_learns_from_the_teacher(shapes, tmp_path):
    first = segment(shapes, tmp_path / "first", val_split=None)
    settings = {"output": tmp_path / "lessons", "data": shapes, "split": "train"}
    predict(first, **settings, save_scores=True, device="cpu")
    lessons = tmp_path / "lessons/scores"
    options = {"val_split": None, "epochs": 1}
    plain = segment(shapes, tmp_path / "plain", **options)
    # a weight of 0 is the training without it
    none = segment(shapes, tmp_path / "none", **options, teacher=lessons, teacher_weight=0.0)
    taught = segment(shapes, tmp_path / "taught", **options, teacher=lessons)
    weights = [torch.load(path, weights_only=True)["state_dict"] for path in (plain, none, taught)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value)
    assert any(not torch.equal(weights[2][name], value) for name, value in weights[0].items())
    with pytest.raises(ValueError, match=r"teacher_weight: expected 0\.\.1, got 1\.5"):
        segment(shapes, tmp_path / "x", teacher=lessons, teacher_weight=1.5)
    with pytest.raises(FileNotFoundError, match=r"teacher: 12 of 12 images have no scores, for"):
        segment(shapes, tmp_path / "x", teacher=tmp_path)
    with pytest.raises(ValueError, match="teacher: expected features: compute"):
        segment(shapes, tmp_path / "x", teacher=lessons, features="cache", freeze="all")
