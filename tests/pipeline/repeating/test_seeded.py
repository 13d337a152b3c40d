"""Steps with a seed: which keys are set, and what is refused."""

import copy

import pytest

from tests.pipeline.two_steps import replace_command
from wsss.pipeline.repeating.seeded import check_seeds, seed_keys, with_seed


def test_the_seed_is_set_where_a_command_has_one_and_nowhere_else():
    steps = [
        {"name": "cls", "command": "train_cls", "epochs": 3},
        {"command": "make_pseudo_masks", "gradient": {"kind": "smoothgrad", "seed": 5}},
        {"command": "predict", "checkpoint": "x"},
        {"command": "self_train", "train_seg": {"epochs": 1}},
        {"command": "self_train", "train_seg": None},
        {"command": "eval_miou", "split": "val"},
        {"command": "nonsense", "a": 1},
    ]
    before = copy.deepcopy(steps)
    found = with_seed(steps, 7)
    assert steps == before
    assert [step.get("seed") for step in found] == [7, None, None, None, None, 7, None]
    assert found[3]["train_seg"] == {"epochs": 1, "seed": 7}
    assert found[4]["train_seg"] == {"seed": 7}
    for step in (found[0], found[5]):
        del step["seed"]
    del found[3]["train_seg"]["seed"]
    found[4]["train_seg"] = None
    assert found == before


def test_every_training_has_a_seed():
    for command in ("train_cls", "train_seg", "train_boundary"):
        assert seed_keys(command) == [("seed",)]
    assert seed_keys("self_train") == [("train_seg", "seed")]
    assert seed_keys("make_pseudo_masks") == []


def test_a_new_command_with_a_seed_needs_nothing(monkeypatch):
    def export(output, seed: int = 0):
        """A toy."""

    replace_command(monkeypatch, "export", export)
    assert with_seed([{"command": "export"}], 3) == [{"command": "export", "seed": 3}]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"command": "train_cls", "seed": 0}, r"number 1, train_cls: seed is set to 0, and seeds"),
        (
            {"command": "self_train", "name": "again", "train_seg": {"seed": 4}},
            r"number 1, again: train_seg\.seed is set to 4, .* leave one of them out",
        ),
        ({"command": "export"}, "no step has a key seed"),
    ],
)
def test_what_is_refused(step, message):
    with pytest.raises(ValueError, match=message):
        with_seed([step], 1)


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1, 2]])
def test_seeds_are_different_numbers_from_0_on(seeds):
    with pytest.raises(ValueError, match="seeds: expected one or several different numbers"):
        check_seeds(seeds)
