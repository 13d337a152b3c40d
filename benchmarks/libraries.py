"""What scikit-learn would cost in place of our logistic regression and Gaussian mixture.

    python benchmarks/libraries.py --json ratios.json

One thread, drawn data, processor time. Writes one flat object:

- logistic_over_ours_small: LogisticRegression (L-BFGS, tol 1e-6) over `fit_logistic`, five
  penalties, each from the fit before it, as a check of labels goes through them: 800 images, 800
  features, 6 labels;
- logistic_over_ours_large: 6,349 images, 4,096 features, 20 labels: three fifths of VOC's
  train_aug, features of a ResNet-50;
- logistic_difference_*: largest difference of a probability at the smallest penalty;
- logistic_objective_*: our objective there over scikit-learn's;
- mixture_over_ours: GaussianMixture on the scores of 2,000,000 pixels over `two_components` on
  their histogram, with the same start;
- mixture_difference: of the two thresholds; mixture_difference_100000: with so many drawn pixels.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from ratios import write_ratios
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from wsss.models.logistic import Logistic, fit_logistic
from wsss.refinement.threshold import otsu, two_components
from wsss.tasks.cross_validation import CrossValidationConfig

STRENGTHS = sorted(CrossValidationConfig().strengths, reverse=True)
SHAPES = {"small": (800, 800, 6), "large": (6349, 4096, 20)}


def timed(run: Callable[[], object]) -> tuple[float, object]:
    """Processor time, and the result."""
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def draw_problem(images: int, columns: int, labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of mean squared length 1 on falling axes, and labels that one in seven has."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((images, columns)) / np.arange(10, 10 + columns) ** 0.5
    features /= np.sqrt((features**2).sum(axis=1).mean())
    logits = features @ rng.standard_normal((columns, labels))
    logits = 3 * logits / logits.std(axis=0) + rng.logistic(size=logits.shape)
    given = logits > np.quantile(logits, 6 / 7, axis=0)
    return torch.from_numpy(features), torch.from_numpy(given.astype(np.float64))


def ours(features: torch.Tensor, labels: torch.Tensor) -> Logistic:
    model = None
    for strength in STRENGTHS:
        model = fit_logistic(features, labels, strength, start=model)
    assert model is not None
    return model


def theirs(features: torch.Tensor, labels: torch.Tensor) -> Logistic:
    """Label by label; C is the inverse of a penalty on the sum over images."""
    weight, bias = [], []
    for column in labels.T.numpy():
        model = LogisticRegression(tol=1e-6, max_iter=5000, warm_start=True)
        for strength in STRENGTHS:
            model.set_params(C=1 / (strength * len(features))).fit(features.numpy(), column)
        weight.append(model.coef_[0])
        bias.append(model.intercept_[0])
    return Logistic(torch.from_numpy(np.stack(weight, axis=1)), torch.tensor(bias))


def compare_logistic(size: str) -> dict[str, float]:
    """Time and results of one shape."""
    features, labels = draw_problem(*SHAPES[size])
    own_time, own = timed(lambda: ours(features, labels))
    other_time, other = timed(lambda: theirs(features, labels))
    assert isinstance(own, Logistic)
    assert isinstance(other, Logistic)
    objectives = []
    for model in (own, other):
        entropy = F.binary_cross_entropy_with_logits(model(features), labels) * labels.shape[1]
        objectives.append(float(entropy + STRENGTHS[-1] / 2 * model.weight.square().sum()))
    difference = (own(features).sigmoid() - other(features).sigmoid()).abs().max()
    return {
        f"logistic_over_ours_{size}": other_time / own_time,
        f"logistic_seconds_ours_{size}": own_time,
        f"logistic_difference_{size}": float(difference),
        f"logistic_objective_{size}": objectives[0] / objectives[1],
    }


def their_threshold(scores: np.ndarray, histogram: np.ndarray) -> float:
    """`two_components` by scikit-learn, from the same start."""
    values = np.linspace(0, 1, len(histogram))
    narrowest = 1 / (len(histogram) - 1) ** 2
    upper = scores > otsu(histogram)
    parts = [scores[~upper], scores[upper]]
    mixture = GaussianMixture(
        2, max_iter=200, tol=1e-6, reg_covar=narrowest,
        weights_init=[len(part) / len(scores) for part in parts],
        means_init=[[part.mean()] for part in parts],
        precisions_init=[[[1 / max(part.var(), narrowest)]] for part in parts],
    ).fit(scores[:, None])  # fmt: skip
    means = mixture.means_[:, 0]
    between = values[(values >= means.min()) & (values <= means.max())]
    chance = mixture.predict_proba(between[:, None])[:, means.argmax()]
    return float(between[chance > 0.5][0])


def compare_mixture() -> dict[str, float]:
    """Scores as a CAM has them: most near 0, the rest spread widely."""
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.exponential(0.08, 1_400_000), rng.beta(2, 2, 600_000)])
    stored = np.rint(255 * drawn.clip(0, 1)).astype(np.int64)
    histogram = np.bincount(stored, minlength=256)
    own_time, own = timed(lambda: two_components(histogram))
    other_time, other = timed(lambda: their_threshold(stored / 255, histogram))
    few = rng.choice(stored, 100_000) / 255
    return {
        "mixture_over_ours": other_time / own_time,
        "mixture_seconds_theirs": other_time,
        "mixture_difference": abs(other - own),
        "mixture_difference_100000": abs(their_threshold(few, histogram) - own),
    }


def main(json: Path | None = None) -> None:
    """Measure and print the ratios.

    Args:
        json: File to write them to.
    """
    torch.set_num_threads(1)
    ratios = compare_mixture()
    for size in SHAPES:
        ratios |= compare_logistic(size)
    write_ratios(ratios, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
