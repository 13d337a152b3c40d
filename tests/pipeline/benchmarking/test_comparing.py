"""Choosing on one list and reporting on the other, from counts made by hand."""

import numpy as np
import pytest
import torch

from wsss.attribution import AttributionConfig
from wsss.metrics import ThresholdSweep
from wsss.pipeline.benchmarking.comparing import best_of_methods, choose, report
from wsss.pipeline.benchmarking.measurements import METRICS, Measured, Measurements
from wsss.pipeline.benchmarking.methods import Candidate

CANDIDATES = [
    Candidate("A", "A, 1", AttributionConfig()),
    Candidate("A", "A, 2", AttributionConfig()),
    Candidate("B", "B", AttributionConfig()),
]


def measured(object_scores, values=()) -> Measurements:
    """One image of a pixel of background, score .25, and one of the class, with a score each."""
    found = Measurements([one.name for one in CANDIDATES], 2)
    of_candidates = []
    for place, score in enumerate(object_scores):
        sweep = ThresholdSweep(2)
        scores = np.array([[[0.25, score]]], dtype=np.float32)
        sweep.update([1], scores, np.array([[0, 1]], dtype=np.uint8))
        given = {"energy": torch.tensor([values[place]])} if values else {}
        of_candidates.append(Measured(sweep.histogram, given))
    found.add("image", [0], of_candidates)
    return found


def test_the_threshold_of_one_list_is_applied_to_the_other():
    choices = choose(CANDIDATES, measured([0.75, 0.1, 0.5]))
    assert [one.threshold for one in choices] == pytest.approx([0.25, 0.0, 0.25])
    assert [one.miou for one in choices] == [1.0, 0.25, 1.0]
    costs = {"A, 1": 1.0, "A, 2": 2.0, "B": 3.0}
    # at .25 the object's pixel is lost by a score of .2
    results = report(choices, measured([0.2, 0.9, 0.9], values=[0.5, 0.25, 1.0]), costs)
    assert [one.miou for one in results] == [0.25, 0.25, 1.0]
    assert [one.oracle for one in results] == [0.25, 1.0, 1.0]
    assert [one.metrics["energy"] for one in results] == [0.5, 0.25, 1.0]
    assert {one.metrics[name] for one in results for name in METRICS if name != "energy"} == {None}
    assert [one.cost for one in results] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("object_scores", "best"),
    [
        ([0.75, 0.1, 0.1], "A, 1"),
        ([0.1, 0.75, 0.1], "A, 2"),
        ([0.75, 0.5, 0.1], "A, 1"),  # as good: the first
    ],
)
def test_the_best_candidate_of_each_method(object_scores, best):
    choices = choose(CANDIDATES, measured(object_scores))
    costs = dict.fromkeys([one.name for one in CANDIDATES], 1.0)
    # the report list would choose the other one
    results = report(choices, measured([1 - score for score in object_scores]), costs)
    assert {m: one.name for m, one in best_of_methods(results).items()} == {"A": best, "B": "B"}
