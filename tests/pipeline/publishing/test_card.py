"""The model card: what hubs read of it, what it tells, and what it keeps to itself."""

import dataclasses
import json
import re
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from tests.conftest import REPOSITORY
from tests.pipeline.publishing.finished_run import (
    SWEEP,
    leave,
    leave_run,
)
from tests.tasks.networks_on_disk import write_checkpoint
from wsss.cli import main
from wsss.data.provenance import Origin, write_provenance
from wsss.data.storage import file_sha256
from wsss.pipeline.card import card
from wsss.pipeline.publishing import citation
from wsss.pipeline.publishing.fields import CardFields, places_to_fill_in
from wsss.pipeline.publishing.recipe import DATA
from wsss.pipeline.run import _parsed
from wsss.runs.evaluation import Evaluation
from wsss.runs.settings import plain
from wsss.tasks.checkpoint import load_classifier, load_segmenter

FILLED = CardFields("cc-by-4.0", "A. Author", "user/shapes", "CC0", "Shapes. Nothing else.")


@pytest.fixture(scope="module")
def shared_run(shapes, tmp_path_factory):
    return leave_run(tmp_path_factory.mktemp("published") / "run", shapes)


@pytest.fixture
def run(shared_run, tmp_path):
    """A run of which a test may change everything; its configurations name where it was made."""
    shutil.copytree(shared_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def written(shared_run, tmp_path_factory):
    return card(shared_run, tmp_path_factory.mktemp("card"), fields=FILLED)


@pytest.fixture(scope="module")
def text(written):
    return written.read_text(encoding="utf-8")


class TestFrontMatter:
    def test_what_the_hub_reads(self, shared_run, text):
        data = ModelCard(text).data
        assert (data.license, data.library_name) == ("cc-by-4.0", "wsss")
        assert data.pipeline_tag == "image-segmentation"
        assert data.datasets == ["user/shapes"]
        assert data.metrics == ["mean_iou"]
        assert {"wsss", "weakly-supervised", "semantic-segmentation"} <= set(data.tags)
        [result] = data.eval_results
        record = Evaluation.read(shared_run / "score")
        assert result.metric_value == pytest.approx(record.means.miou, abs=5e-5)
        assert (result.metric_type, result.dataset_split) == ("mean_iou", "val")
        assert (result.task_type, result.dataset_name) == ("image-segmentation", "user/shapes")

    def test_what_is_not_known_is_left_open(self, run):
        text = card(run).read_text(encoding="utf-8")
        data = ModelCard(text).data
        assert (data.license, data.license_name) == ("other", "not-chosen-yet")
        assert data.datasets is None
        assert len(places_to_fill_in(text)) == len(dataclasses.fields(CardFields))

    def test_nothing_is_left_open_with_all_fields(self, text):
        assert places_to_fill_in(text) == []
        for words in dataclasses.astuple(FILLED):
            assert words in text


class TestText:
    def test_tables_are_whole(self, text):
        """Every row has as many cells as its head."""
        tables = re.findall(r"(?:^\|.*\|\n)+", text, re.M)
        assert len(tables) == 4
        for table in tables:
            cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            assert len(cells) == 1, table
        assert text.count("```") % 2 == 0
        assert not re.search(r"\n{4,}", text)

    def test_classes_with_values_and_ious(self, shared_run, text):
        record = Evaluation.read(shared_run / "score")
        star = record.classes["star"]
        low, high = 100 * star.iou_low, 100 * star.iou_high
        assert f"| star | 2 | {100 * star.iou:.2f} | {low:.2f} .. {high:.2f} |" in text
        assert "| background | 0 |" in text
        assert "knows the 5 classes" in text

    def test_the_score_with_its_interval(self, shared_run, text):
        record = Evaluation.read(shared_run / "score")
        low, high = record.intervals.low.miou, record.intervals.high.miou
        expected = f"| {100 * record.means.miou:.2f} | {100 * low:.2f} .. {100 * high:.2f} |"
        assert f"| score | **this network** | val | 6 {expected}" in text
        assert "One seed was run" in text

    def test_thresholds_and_choices(self, text):
        assert "- `masks`: 0.34 (Otsu's threshold of the scores on train, without masks" in text
        # its masks were made for their scores alone
        assert "`scores`: 0.30" not in text
        assert "- `classifier/last.ckpt`: of the epochs, chosen by: last epoch" in text
        assert "none chose a threshold on its road; masks were opened to score" in " ".join(
            text.split()
        )

    def test_steps_that_opened_masks(self, text):
        part = text[text.index("opened ground-truth") : text.index("## Scores")]
        assert re.findall(r"^- (.*)$", part, re.M) == ["`score`: to score val"]

    def test_the_road_with_its_seeds(self, text):
        road = re.findall(r"^\d\. `(\w+)`: `(\w+)`\..*?(Seed \d+\.)?$", text, re.M)
        assert road == [
            ("classifier", "train_cls", "Seed 0."),
            ("scores", "make_pseudo_masks", ""),
            ("otsu", "choose_threshold", ""),
            ("masks", "make_pseudo_masks", ""),
            ("segmenter", "train_seg", "Seed 0."),
            ("predictions", "predict", ""),
            ("score", "eval_miou", "Seed 0."),
        ]

    def test_settings_of_the_predictions_that_were_scored(self, text):
        [block] = re.findall(r"```yaml\n(.*?)```", text, re.S)
        assert yaml.safe_load(block)["crf"]["bilateral_sxy"] == 30.0

    def test_versions(self, text):
        assert f"- torch: {torch.__version__.partition('+')[0]}" in text

    def test_no_place_of_this_machine(self, shared_run, written, shapes):
        for file in (written, written.parent / "run.yaml"):
            content = file.read_text(encoding="utf-8")
            for place in (shapes.root, shared_run, shared_run.parent, REPOSITORY):
                assert str(place) not in content
        for file in written.parent.glob("*.safetensors"):
            assert str(shared_run.parent).encode() not in file.read_bytes()

    def test_names_cannot_break_a_table(self, shapes, tmp_path):
        classes = {"a|b": 1, "<b>x": 2, "star*s*": 3, "bar": 4, "blob": 5}
        data = dataclasses.replace(shapes, classes=classes)
        run = tmp_path / "run"
        checkpoint = write_checkpoint(run / "classifier/last.ckpt", "classifier")
        loaded = torch.load(checkpoint, weights_only=True)
        loaded["wsss"]["classes"] = classes
        torch.save(loaded, checkpoint)
        leave(run, "classifier", "train_cls", data)
        text = card(run).read_text(encoding="utf-8")
        assert "| a\\|b | 1 |" in text
        assert "| &lt;b>x | 2 |" in text


class TestWhatChoseAndTaught:
    @pytest.mark.slow
    def test_a_threshold_that_masks_chose(self, shapes, tmp_path):
        text = card(leave_run(tmp_path / "run", shapes, SWEEP)).read_text(encoding="utf-8")
        assert "was chosen with ground-truth masks" in text
        assert "0.41 (best mIoU of the sweep on train, with its masks, 12 images). **It was" in text
        assert "none chose a threshold" not in text

    @pytest.mark.parametrize(
        ("masks", "words"),
        [
            ("real", "to train on: those of the data set, which is full supervision"),
            ("elsewhere", "to train on: perhaps; who made the masks that it learned is not known"),
        ],
    )
    def test_masks_of_no_step(self, run, shapes, tmp_path, masks, words):
        place = {"real": shapes.root / shapes.masks, "elsewhere": tmp_path / "x"}[masks]
        shutil.rmtree(run / "segmenter")
        write_checkpoint(run / "segmenter/last.ckpt", "segmenter")
        leave(run, "segmenter", "train_seg", shapes, masks=str(place))
        for later in ("predictions", "score"):
            shutil.rmtree(run / later)
        text = card(run).read_text(encoding="utf-8")
        assert f"- `segmenter`: {words}" in text
        assert "Masks of people were trained on, or masks whose maker is not known" in text
        assert "weakly-supervised" not in ModelCard(text).data.tags

    def test_masks_that_a_person_corrected(self, run, shapes):
        """The folder of masks says it, whichever step made the others."""
        shutil.rmtree(run / "segmenter")
        write_checkpoint(run / "segmenter/last.ckpt", "segmenter")
        for later in ("predictions", "score"):
            shutil.rmtree(run / later)
        masks = run / "masks/masks"
        leave(run, "segmenter", "train_seg", shapes, masks=str(masks))
        assert "made the masks" not in card(run).read_text(encoding="utf-8"), "a manifest says it"
        origins = [Origin("a", "made", "a.png"), Origin("b", "corrected", "b.png", 7)]
        write_provenance(masks, origins)
        text = card(run).read_text(encoding="utf-8")
        assert "- `segmenter`: to train on: 1 of 2 that a person corrected or drew" in text
        assert "from image-level labels alone" not in text


class TestNetworks:
    def test_they_are_those_of_the_checkpoints(self, shared_run, written):
        for file, step, load in (
            ("model", "segmenter", load_segmenter),
            ("classifier", "classifier", load_classifier),
        ):
            network, classes = load(written.parent / f"{file}.safetensors")
            expected, known = load(shared_run / step / "last.ckpt")
            assert classes == known
            for key, value in expected.state_dict().items():
                assert torch.equal(value, network.state_dict()[key]), key
        assert f"`{file_sha256(written.parent / 'model.safetensors')}`" in written.read_text()

    def test_one_training_alone(self, run):
        text = card(run / "classifier").read_text(encoding="utf-8")
        assert ModelCard(text).data.pipeline_tag == "image-classification"
        assert ModelCard(text).data.eval_results is None
        assert "wsss explain photograph.jpg" in text
        # nothing used last.ckpt here: the one that train_cls returns
        assert "- `classifier/best.ckpt`: of the epochs, chosen by: image-level mAP on val" in text
        names = {path.name for path in (run / "classifier/card").iterdir()}
        assert names == {"README.md", "run.yaml", "card.json", "model.safetensors"}

    def test_of_several_one_is_named(self, run, shapes):
        write_checkpoint(run / "yardstick/last.ckpt", "segmenter", seed=5)
        leave(run, "yardstick", "train_seg", shapes, masks=str(shapes.root / shapes.masks))
        with pytest.raises(ValueError, match="has several, segmenter, yardstick; name the one"):
            card(run)
        text = card(run, network="yardstick").read_text(encoding="utf-8")
        assert "`yardstick`" in text
        assert not (run / "card/classifier.safetensors").exists()
        with pytest.raises(ValueError, match=r"network: expected a step .*\(classifier, .*got x"):
            card(run, network="x")

    def test_scores_of_an_earlier_state_are_refused(self, run):
        write_checkpoint(run / "segmenter/last.ckpt", "segmenter", seed=8)
        with pytest.raises(ValueError, match="predictions was made with another checkpoint than"):
            card(run)
        assert not (run / "card").exists()

    def test_a_run_without_a_network(self, run):
        for path in run.rglob("*.ckpt"):
            path.unlink()
        with pytest.raises(ValueError, match="no checkpoint"):
            card(run)


class TestRecipe:
    def test_it_gives_the_same_settings(self, shared_run, written, shapes, tmp_path):
        """Every step, parsed again from run.yaml, has all settings of its manifest."""
        content = yaml.safe_load((written.parent / "run.yaml").read_text(encoding="utf-8"))
        assert content["data"].pop("root") == DATA
        assert content["data"] == {"classes": dict(shapes.classes)}
        steps = _parsed(content["steps"], tmp_path, shapes)
        assert [step.name for step in steps][-2:] == ["predictions", "score"]
        for step in steps:
            manifest = json.loads((shared_run / step.name / "manifest.json").read_text())
            wanted = json.dumps(manifest["config"]).replace(str(shared_run), str(tmp_path))
            assert json.loads(json.dumps(plain(step.settings))) == json.loads(wanted)

    def test_other_places_are_shortened(self, run, shapes):
        shutil.rmtree(run / "classifier")
        write_checkpoint(run / "classifier/last.ckpt", "classifier")
        leave(run, "classifier", "train_cls", shapes, model={"weights": "/home/me/w/x.pt"},
              trainer={"cache": "/home/me/cache"})  # fmt: skip
        shutil.rmtree(run / "segmenter")
        card(run)
        content = (run / "card/run.yaml").read_text(encoding="utf-8")
        assert "/home" not in content
        [step] = [s for s in yaml.safe_load(content)["steps"] if s["command"] == "train_cls"]
        assert step["model"]["weights"] == "x.pt"
        assert step["trainer"]["cache"] == "cache"


class TestWriting:
    def test_the_same_run_gives_the_same_bytes(self, shared_run, written, tmp_path):
        again = card(shared_run, tmp_path, fields=FILLED).parent
        names = sorted(path.name for path in again.iterdir())
        assert names == sorted(path.name for path in written.parent.iterdir())
        for name in set(names) - {"README.md"}:
            assert (again / name).read_bytes() == (written.parent / name).read_bytes() or (
                name == "card.json"
            )

    def test_what_was_written_by_hand_stays(self, run):
        readme = card(run)
        readme.write_text(readme.read_text() + "\nMine.\n")
        before = {path: path.read_bytes() for path in readme.parent.iterdir()}
        with pytest.raises(ValueError, match=r"README\.md was changed by hand"):
            card(run, fields=FILLED)
        assert {path: path.read_bytes() for path in readme.parent.iterdir()} == before

    def test_a_folder_with_anothers_readme_stays(self, run, tmp_path):
        (tmp_path / "own").mkdir()
        (tmp_path / "own/README.md").write_text("my project")
        with pytest.raises(ValueError, match="changed by hand"):
            card(run, tmp_path / "own")
        assert [path.name for path in (tmp_path / "own").iterdir()] == ["README.md"]

    def test_a_card_is_replaced_with_its_files_and_no_others(self, run, shapes):
        card(run)
        (run / "card/mine.txt").write_text("x")
        shutil.rmtree(run / "classifier")
        card(run, fields=FILLED)
        assert not (run / "card/classifier.safetensors").exists()
        assert (run / "card/mine.txt").is_file()

    def test_as_a_command_and_as_a_step(self, run, capsys):
        assert main(["card", str(run), "--fields.licence", "mit", "--name", "shapes-net"]) == 0
        assert capsys.readouterr().out.strip() == f"wrote {run / 'card/README.md'}"
        data = ModelCard((run / "card/README.md").read_text()).data
        assert (data.license, data.model_name) == ("mit", "shapes-net")


class TestPictures:
    def test_none_but_those_that_are_named(self, run, tmp_path):
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures/a b.png").write_bytes(b"png")
        (tmp_path / "pictures/notes.txt").write_text("x")
        assert not (card(run).parent / "pictures").exists()
        with pytest.raises(ValueError, match="pictures_licence: say under which licence"):
            card(run, pictures=tmp_path / "pictures")
        text = card(run, pictures=tmp_path / "pictures", pictures_licence="CC0, drawn").read_text(
            encoding="utf-8"
        )
        assert "(<pictures/a b.png>)" in text
        assert "Licence of the pictures: CC0, drawn" in text
        assert [path.name for path in (run / "card/pictures").iterdir()] == ["a b.png"]

    def test_an_empty_folder(self, run, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no picture"):
            card(run, pictures=tmp_path / "run/otsu", pictures_licence="x")


@pytest.fixture(scope="module")
def seeds(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("repeated") / "run"
    for seed in (1, 2):
        leave_run(folder / f"seed-{seed}", shapes, seed=seed)
    return folder


class TestSeveralSeeds:
    def test_the_first_is_published_whatever_it_scored(self, seeds, tmp_path):
        readme = card(seeds, tmp_path)
        text = readme.read_text(encoding="utf-8")
        assert "published weights are those of seed 1, the first one, whatever it scored" in text
        assert "| score | val | 2 |" in text
        expected = load_segmenter(seeds / "seed-1/segmenter/last.ckpt")[0].state_dict()
        found = load_segmenter(readme.parent / "model.safetensors")[0].state_dict()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
        assert "seed-1" not in (readme.parent / "run.yaml").read_text()

    def test_another_may_be_named(self, seeds, tmp_path):
        text = card(seeds, tmp_path, seed=2).read_text(encoding="utf-8")
        assert "published weights are those of seed 2, as its author chose" in text
        [result] = ModelCard(text).data.eval_results
        score = Evaluation.read(seeds / "seed-2/score").means.miou
        assert result.metric_value == pytest.approx(score, abs=5e-5)
        with pytest.raises(ValueError, match=r"seed: expected one of the run's \(1, 2\), got 0"):
            card(seeds, tmp_path, seed=0)


def test_a_moved_run_tells_the_same(shared_run, run, shapes):
    """Which step used which is read from what the configurations say, not from where it lies."""
    assert [path.name for path in sorted(card(run).parent.glob("*.safetensors"))] == [
        "classifier.safetensors",
        "model.safetensors",
    ]


def test_the_citation_is_that_of_the_repository():
    content = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    preferred = content["preferred-citation"]
    assert content["title"] == citation.SOFTWARE
    assert (preferred["title"], preferred["journal"], preferred["year"]) == (
        citation.TITLE, citation.JOURNAL, citation.YEAR
    )  # fmt: skip
