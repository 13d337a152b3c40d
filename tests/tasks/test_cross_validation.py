"""Out-of-fold probabilities: no image's own label reaches them, and planted errors stand out."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import wsss.tasks.cross_validation as module
from wsss.data.folds import stratified_folds
from wsss.metrics.label_noise import disagreement
from wsss.models.logistic import fit_logistic
from wsss.tasks.cross_validation import CrossValidationConfig, out_of_fold

FAST = CrossValidationConfig(strengths=(1e-3, 1e-2))


def planted(images=240, classes=3, columns=40, seed=0):
    """Features in which the classes can be seen, their labels, and 6 flipped entries."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, classes)) < 0.35).astype(np.float32)
    directions = rng.normal(size=(classes, columns))
    features = (labels - 0.35) @ directions * 1.5 + rng.normal(size=(images, columns))
    flipped = np.zeros(labels.shape, dtype=bool)
    flipped.flat[rng.choice(labels.size, 6, replace=False)] = True
    return features.astype(np.float32), np.where(flipped, 1 - labels, labels), flipped


def prepared(features):
    return module._principal_components(torch.from_numpy(features).double()).numpy()


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_errors_come_first(seed):
    features, labels, flipped = planted(seed=seed)
    fold = stratified_folds(labels, range(240), 5, seed=seed)
    found = out_of_fold(features, labels, fold, FAST)
    first = np.argsort(-disagreement(labels, found.probabilities).ravel())[:6]
    assert flipped.ravel()[first].sum() >= 5
    assert len(found.strengths) == 5
    assert set(found.strengths) <= {1e-3, 1e-2}


@pytest.mark.parametrize("context", [True, False])
def test_no_part_of_a_prediction_knows_the_label_that_it_judges(context):
    """To the last bit: penalty and calibration of a fold come from the other folds."""
    config = dataclasses.replace(FAST, context=context)
    features, labels, _ = planted(images=48, classes=2, columns=60)
    fold = stratified_folds(labels, range(48), 3, seed=0)
    before = out_of_fold(features, labels, fold, config).probabilities
    for f in range(3):
        image, k = int(np.flatnonzero(fold == f)[0]), f % 2
        other = labels.copy()
        other[image, k] = 1 - other[image, k]
        after = out_of_fold(features, other, fold, config).probabilities
        assert after[image, k] == before[image, k]
        elsewhere = fold != fold[image]
        assert (after[elsewhere, k] != before[elsewhere, k]).mean() > 0.9


def test_labels_that_can_only_be_memorised_are_not():
    """One column an image: a regression on all images knows every label; out of fold none."""
    rng = np.random.default_rng(0)
    labels = (rng.random((100, 2)) < 0.5).astype(np.float32)
    features = np.eye(100, dtype=np.float32)
    x, y = torch.from_numpy(features).double(), torch.from_numpy(labels).double()
    memorised = fit_logistic(x, y, 1e-6)(x).numpy()
    assert roc_auc_score(labels.ravel() > 0, memorised.ravel()) == 1
    fold = stratified_folds(labels, range(100), 3, seed=0)
    for config in (FAST, dataclasses.replace(FAST, context=False)):
        found = out_of_fold(features, labels, fold, config).probabilities
        for k in range(2):
            assert roc_auc_score(labels[:, k] > 0, found[:, k]) < 0.65


def test_each_model_leaves_out_what_it_predicts(monkeypatch):
    """Each image is predicted once, by a model that was fitted without its fold."""
    fitted = []

    def noted(features, labels, strength, **options):
        fitted.append({tuple(row) for row in features.numpy()})
        return fit_logistic(features, labels, strength, **options)

    monkeypatch.setattr(module, "fit_logistic", noted)
    features, labels, _ = planted(images=60)
    fold = stratified_folds(labels, range(60), 5, seed=0)
    config = CrossValidationConfig(strengths=(1e-2,), context=False)
    out_of_fold(features, labels, fold, config)
    rows = [tuple(row) for row in prepared(features)]
    last = fitted[-5:]
    assert len(fitted) == 10 + 5
    for f, known in enumerate(last):
        assert known == {row for row, part in zip(rows, fold, strict=True) if part != f}


def test_the_same_twice():
    features, labels, _ = planted(images=60)
    fold = stratified_folds(labels, range(60), 3, seed=0)
    first, again = (out_of_fold(features, labels, fold, FAST) for _ in range(2))
    assert np.array_equal(first.probabilities, again.probabilities)


@pytest.mark.parametrize("images", [30, 90])
def test_a_penalty_does_not_see_the_rotation(images):
    """The same distances between images, in as few columns as there are images."""
    features = planted(images=images, columns=50)[0]
    centred = (features - features.mean(axis=0)) / features.std(axis=0) / 50**0.5
    turned = prepared(features)
    assert turned.shape[1] <= min(images, 50)
    assert turned @ turned.T == pytest.approx(centred @ centred.T, abs=1e-5)
    assert np.square(turned).sum(axis=1).mean() == pytest.approx(1)
    products = turned.T @ turned
    assert products == pytest.approx(np.diag(np.diag(products)), abs=1e-9)


@pytest.mark.parametrize("columns", [1, 5, 100])
def test_features_that_say_nothing_give_no_nan(columns):
    labels = planted(images=60)[1]
    fold = stratified_folds(labels, range(60), 3, seed=0)
    found = out_of_fold(np.ones((60, columns), dtype=np.float32), labels, fold, FAST)
    assert np.isfinite(found.probabilities).all()


def test_one_class():
    features, labels, _ = planted()
    fold = stratified_folds(labels, range(240), 3, seed=0)
    found = out_of_fold(features, labels[:, :1], fold, FAST)
    assert found.probabilities.shape == (240, 1)
    assert roc_auc_score(labels[:, 0] > 0, found.probabilities[:, 0]) > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 2}, "validation.folds: expected at least 3, got 2"),
        ({"strengths": ()}, "validation.strengths: expected positive"),
        ({"strengths": (0.1, 0.0)}, "validation.strengths: expected positive"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CrossValidationConfig(**options)
