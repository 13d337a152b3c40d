"""wsss run --seeds: folders, what is skipped, the table, and what is not put together."""

import csv
import json
import logging
import shutil

import numpy as np
import pytest
import yaml

from tests.pipeline.repeating.several_seeds import STEPS, write_masks
from tests.pipeline.test_run import ran
from wsss.cli import main
from wsss.pipeline.repeating.spread import Place, Spread, find_repeated
from wsss.pipeline.report import report
from wsss.pipeline.reporting.runs import find_folders, load_evaluations
from wsss.pipeline.run import run
from wsss.runs.evaluation import Evaluation

__all__ = ["ran"]


@pytest.fixture
def output(shapes, tmp_path):
    write_masks(shapes, tmp_path / "run")
    return tmp_path / "run"


def repeated_in(output):
    remarks = []
    folders = find_folders([output], remarks)
    return find_repeated(folders, load_evaluations(folders, remarks), remarks), remarks


class TestRunning:
    def test_all_steps_run_with_each_seed_in_a_folder_of_its_own(self, output, shapes, ran, caplog):
        with caplog.at_level(logging.INFO):
            run(shapes, STEPS, output, seeds=[0, 1])
        assert ran == ["score", "limited"] * 2
        assert "seed 1, step 2 of 2, limited: eval_miou ..." in caplog.text
        for seed in (0, 1):
            config = yaml.safe_load((output / f"seed-{seed}/score/config.yaml").read_text())
            assert config["seed"] == seed
            assert config["predictions"] == f"{output}/seed-{seed}/masks"
        assert not (output / "score").exists()

    def test_what_is_done_is_skipped_and_a_seed_can_be_added(self, output, shapes, ran):
        run(shapes, STEPS, output, seeds=[1])
        run(shapes, STEPS, output, seeds=[0, 1])
        assert ran == ["score", "limited"] * 2
        assert {path.parent.parent.name for path in output.rglob("step.json")} == {
            "seed-0",
            "seed-1",
        }

    def test_a_seed_whose_step_failed_goes_on_there(self, output, shapes, ran):
        masks = output / "seed-1/masks"
        masks.rename(output / "kept")
        with pytest.raises((ValueError, FileNotFoundError), match="seed-1"):
            run(shapes, STEPS, output, seeds=[0, 1])
        (output / "kept").rename(masks)
        run(shapes, STEPS, output, seeds=[0, 1])
        assert ran == ["score", "limited", "score", "score", "limited"]

    def test_every_seed_is_checked_before_the_first_runs(self, output, shapes, ran):
        steps = [*STEPS, {"name": "late", "command": "eval_miou", "spilt": "val"}]
        with pytest.raises(ValueError, match=r"steps, late: eval_miou: .*spilt"):
            run(shapes, steps, output, seeds=[0, 1])
        assert ran == []

    def test_words_of_a_shell_and_yaml_say_the_same(self, output, shapes, tmp_path, capsys):
        data = {"root": str(shapes.root), "classes": dict(shapes.classes)}
        content = {"output": str(output), "data": data, "steps": STEPS}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
        words = ["run", "--config", str(tmp_path / "run.yaml")]
        assert main([*words, "--seeds", "0", "1"]) == 0
        first = capsys.readouterr().out
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(content | {"seeds": [0, 1]}))
        assert main(words) == 0
        assert capsys.readouterr().out == first
        assert first.splitlines()[0].split() == [
            "mIoU", "over", "seeds", "n", "mean", "s.d.", "min", "..", "max"
        ]  # fmt: skip
        assert first.splitlines()[-1] == f"wrote seeds.csv and seeds.json in {output}"

    def test_without_seeds_nothing_is_new(self, output, shapes):
        shutil.copytree(output / "seed-0/masks", output / "masks")
        assert run(shapes, STEPS, output) is None
        assert (output / "score/eval.json").is_file()
        assert not (output / "seeds.csv").exists()

    def test_one_seed_has_no_spread(self, output, shapes):
        assert run(shapes, STEPS, output, seeds=[0]) is None
        assert not (output / "seeds.json").exists()


class TestSpread:
    def test_numbers_by_hand(self, output, shapes):
        run(shapes, STEPS, output, seeds=[0, 1])
        records = [Evaluation.read(output / f"seed-{seed}/score") for seed in (0, 1)]
        values = [record.means.miou for record in records]
        assert values[0] != values[1]
        content = json.loads((output / "seeds.json").read_text())
        limited, score = content["evaluations"]
        assert (limited["evaluation"], score["evaluation"]) == ("limited", "score")
        assert score["split"] == "val"
        assert score["scores"]["miou"] == {
            "n": 2,
            "mean": pytest.approx(np.mean(values)),
            "standard_deviation": pytest.approx(np.std(values, ddof=1)),
            "min": min(values),
            "max": max(values),
            "seeds": {"0": values[0], "1": values[1]},
        }
        interval = records[1].intervals
        assert score["miou_intervals_over_images"]["1"] == [interval.low.miou, interval.high.miou]
        ious = [record.classes["star"].iou for record in records]
        assert score["iou"]["star"]["standard_deviation"] == pytest.approx(np.std(ious, ddof=1))
        with (output / "seeds.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        [row] = [r for r in rows if r["evaluation"] == "score" and r["score"] == "miou"]
        assert float(row["mean"]) == pytest.approx(np.mean(values))
        assert [float(row["seed_0"]), float(row["seed_1"])] == values

    def test_scores_that_are_not_defined_everywhere(self):
        spread = Spread({3: 0.5})
        assert (spread.mean, spread.deviation, spread.ends) == (0.5, None, (0.5, 0.5))
        assert (Spread({}).mean, Spread({}).deviation, Spread({}).ends) == (None, None, None)

    def test_another_configuration_is_not_put_together(self, output, shapes, caplog):
        """Neither the step that differs nor another one, which may have come from it."""
        run(shapes, STEPS, output, seeds=[0])
        run(shapes, [STEPS[0], STEPS[1] | {"limit": 3}], output, seeds=[1])
        found, remarks = repeated_in(output)
        assert found == []
        assert remarks == [
            f"{output}/seed-1 is not put together with seed-0: its settings differ in more than "
            "the seed (limited.limit: 2 -> 3)."
        ]
        assert remarks[0] in caplog.text

    def test_a_folder_of_another_seed_is_no_repetition(self, output, shapes):
        """Such as a copy, which would make the spread smaller than it is."""
        run(shapes, STEPS, output, seeds=[0])
        shutil.rmtree(output / "seed-1")
        shutil.copytree(output / "seed-0", output / "seed-1")
        found, remarks = repeated_in(output)
        assert found == []
        assert "limited.seed: {seed} -> 0" in remarks[0]

    def test_where_a_step_ran_may_differ(self, output, shapes):
        run(shapes, STEPS, output, seeds=[0, 1])
        file = output / "seed-1/score/manifest.json"
        facts = json.loads(file.read_text())
        facts["config"]["workers"] = 7
        file.write_text(json.dumps(facts))
        assert [one.name for one in repeated_in(output)[0]] == ["limited", "score"]

    def test_an_unfinished_repetition_counts_where_it_is_done(self, output, shapes):
        write_masks(shapes, output, seeds=[2])
        run(shapes, STEPS, output, seeds=[0, 1, 2])
        shutil.rmtree(output / "seed-2/limited")
        limited, score = repeated_in(output)[0]
        assert list(limited.records) == [0, 1]
        assert list(score.records) == [0, 1, 2]

    @pytest.mark.parametrize(
        ("path", "seed", "step"),
        [("a/seed-3/x", 3, "x"), ("a/seed-3/x/y", 3, "x/y"), ("seed-1/a/seed-2/x", 2, "x")],
    )
    def test_places(self, tmp_path, path, seed, step):
        found = Place.of(tmp_path / path)
        assert (found.seed, found.step) == (seed, step)

    @pytest.mark.parametrize("path", ["a/x", "a/seed-03/x", "a/seed-3", "a/seed-x/y"])
    def test_no_places(self, tmp_path, path):
        assert Place.of(tmp_path / path) is None


def test_the_page_shows_spread_and_intervals_side_by_side(output, shapes, tmp_path):
    run(shapes, STEPS, output, seeds=[0, 1])
    page = report([output], tmp_path, images=0).read_text(encoding="utf-8")
    values = [Evaluation.read(output / f"seed-{seed}/score").means.miou for seed in (0, 1)]
    deviation = f"{100 * np.std(values, ddof=1):.2f}"
    cells = ["2", f"{100 * np.mean(values):.2f}", deviation]
    assert f"<td>{'</td><td>'.join(cells)}</td>" in page
    assert "s.d. over seeds" in page
    assert "each seed [95 % over images]" in page
    shutil.rmtree(output / "seed-1")
    assert "s.d. over seeds" not in report([output], tmp_path, images=0).read_text(encoding="utf-8")
