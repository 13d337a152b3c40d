"""A new method of attribution is one function and one line of a table."""

import pytest
import torch

from tests.pipeline.conftest import ONE_SIZE
from wsss.attribution import METHODS, GradientConfig, Method, attribute, attribute_many
from wsss.attribution.methods import AttributionConfig
from wsss.attribution.tif import TIFConfig
from wsss.models import BackboneConfig, build_classifier
from wsss.pipeline.explain import explain
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.settings import parse_settings
from wsss.runs.settings import plain


def activation_energy(activation, gradient, tif: TIFConfig):
    """A toy from one layer: the squares of its activations."""
    return activation.square().sum(dim=1)


def occlusion(model, asked):
    """A toy with passes of its own: how far the logit falls when a quarter is hidden."""
    images, targets, size = asked.images, asked.targets, asked.size
    maps = images.new_zeros((len(targets.image_index), *size))
    with torch.no_grad():
        for n, (i, k) in enumerate(zip(*targets[:2], strict=True)):
            whole = model(images[i : i + 1])[0, k]
            for rows in torch.arange(size[0]).chunk(2):
                for columns in torch.arange(size[1]).chunk(2):
                    hidden = images[i : i + 1].clone()
                    hidden[:, :, rows[:, None], columns] = 0
                    fall = (whole - model(hidden)[0, k]).relu()
                    maps[n, rows[:, None], columns] = fall
    return maps


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_classifier(BackboneConfig("squeezenet1_0"), 3).train()


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setitem(METHODS, "toy_energy", Method(activation_energy))
    monkeypatch.setitem(METHODS, "toy_occlusion", Method(passes=occlusion))


def test_a_map_of_a_layer(toys, model):
    images = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    found = attribute(model, images, [0, 2], method="toy_energy", size=(3, 4))
    assert found.layers == (model.default_layers[-1],)
    features = model.eval().backbone(images)
    expected = torch.nn.functional.interpolate(
        features.square().sum(1, keepdim=True), (3, 4), mode="bilinear", align_corners=False
    )[:, 0]
    torch.testing.assert_close(found.maps, expected.detach())


def test_passes_of_its_own(toys, model):
    """Beside other methods, in eval mode, and with the model left as it was."""
    images = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[1, 0, 1], [0, 1, 0]])
    configs = [AttributionConfig("toy_occlusion"), AttributionConfig("layercam")]
    own, layercam = attribute_many(model, images, labels, configs)
    assert model.training
    assert own.layers == ()
    assert torch.equal(layercam.maps, attribute(model, images, labels, method="layercam").maps)
    model.eval()
    hidden = images[:1].clone()
    hidden[:, :, :32, :40] = 0
    with torch.no_grad():
        fall = (model(images[:1]) - model(hidden))[0, 2].relu()
    torch.testing.assert_close(own.maps[1, :32, :40], fall.expand(32, 40))


@pytest.mark.parametrize(
    ("passes", "got"),
    [
        (lambda model, asked: torch.rand(*asked.size), "(64, 80)"),
        (lambda model, asked: -torch.ones(2, *asked.size), "-1"),
    ],
)
def test_its_maps_are_checked(monkeypatch, model, passes, got):
    monkeypatch.setitem(METHODS, "toy_wrong", Method(passes=passes))
    with pytest.raises(
        ValueError, match=r"toy_wrong: expected maps of \(2, 64, 80\), at least 0"
    ) as e:
        attribute(model, torch.zeros(2, 3, 64, 80), 1, method="toy_wrong")
    assert got in str(e.value)
    with pytest.raises(ValueError, match=r"gradient\.kind: method toy_wrong has passes of its own"):
        AttributionConfig("toy_wrong", gradient=GradientConfig("integrated"))


@pytest.mark.parametrize("method", ["toy_energy", "toy_occlusion"])
def test_every_command_takes_it(toys, method, shapes, classifier_checkpoint, tmp_path):
    settings = {"data": shapes, "split": "train", "crf": None, "limit": 2, "device": "cpu"}
    parsed = parse_settings(
        "make_pseudo_masks",
        {
            "data": {"root": str(shapes.root), "classes": shapes.classes},
            "split": "train",
            "output": "x",
            "method": method,
        },
    )
    assert parsed["method"] == method
    with pytest.raises(ValueError, match=r"method: expected one of tif, .*toy_occlusion; got 'no'"):
        parse_settings("make_pseudo_masks", {**plain(parsed), "method": "no"})
    masks = make_pseudo_masks(
        **settings, output=tmp_path / "run", checkpoint=classifier_checkpoint, method=method,
        multiscale=ONE_SIZE,
    )  # fmt: skip
    assert len(list(masks.iterdir())) == 2
    photograph = next((shapes.root / "JPEGImages").iterdir())
    explain(photograph, classifier_checkpoint, output=tmp_path / "x.png", method=method)
    assert (tmp_path / "x.png").is_file()


def test_layers_are_refused_where_it_says_itself_where_it_looks(toys):
    with pytest.raises(ValueError, match="method toy_occlusion says itself where it looks"):
        AttributionConfig("toy_occlusion", layers=1)


def test_names_of_methods_stand_in_the_table_alone():
    """Whatever is known of a method stands in its line."""
    from tests.conftest import REPOSITORY

    for path in sorted((REPOSITORY / "wsss").rglob("*.py")):
        if path.name == "methods.py" and path.parent.name == "attribution":
            continue
        text = path.read_text(encoding="utf-8")
        for name in ("tif", "base", "fullgrad", "cam"):
            assert f'"{name}"' not in text, path
