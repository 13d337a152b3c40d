"""The EMA teacher: its average, what it teaches, and that it is the one that is kept."""

import json

import pytest
import torch
from torch import nn

from tests.conftest import CPU, SMALL
from tests.pipeline.conftest import SMALL_NET
from tests.tasks.noise.planted import LABELS, planted, recovered
from wsss.data import load_records, read_image, read_mask
from wsss.data.transforms import normalise
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.normalisation import IMAGENET
from wsss.pipeline.train_seg import train_seg
from wsss.tasks.checkpoint import load_segmenter
from wsss.tasks.noise.config import NoiseConfig
from wsss.tasks.noise.ema import EMAConfig, Teacher, consistency
from wsss.tasks.noise.supervision import Supervision
from wsss.tasks.optim import OptimConfig


def miou(model, records) -> float:
    counts = 0
    for record in records:
        with torch.no_grad():
            logits = model(normalise(read_image(record.image), IMAGENET)[None])
        counts += confusion_counts(logits[0].argmax(0), read_mask(record.mask), 6)
    return segmentation_scores(counts).miou


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, LABELS, 1))


def test_the_average_by_hand():
    """Of weights and statistics: each step leaves min(decay, (1 + n) / (10 + n))."""
    model = network().double()
    teacher = Teacher(model, EMAConfig(decay=0.25))
    expected = None
    for step in range(6):
        with torch.no_grad():
            for value in (*model.parameters(), *model.buffers()):
                value += 1 if value.dtype == torch.int64 else torch.randn_like(value)
        teacher.update_parameters(model)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        if expected is None:
            expected = state  # the first step copies
            continue
        decay = min(0.25, (1 + step) / (10 + step))
        for name, value in state.items():
            counted = value.dtype == torch.int64
            old = expected[name]
            expected[name] = value if counted else decay * old + (1 - decay) * value
    assert decay == 0.25
    assert (1 + 1) / (10 + 1) < 0.25, "the decay never grows; the test is empty"
    for name, value in teacher.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_it_is_never_trained():
    model = network()
    teacher = Teacher(model, EMAConfig())
    nn.ModuleList([model, teacher]).train()
    assert model.training
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_consistency_by_hand():
    generator = torch.Generator().manual_seed(0)
    logits, other = torch.randn(2, 2, 4, 3, 5, generator=generator, dtype=torch.float64)
    targets = (2 * other).softmax(dim=1)
    values = []
    for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(5)):
        p, t = logits[b, :, y, x].softmax(0), targets[b, :, y, x]
        if t.max() >= 0.6:
            values.append(-(t * p.log()).sum())
    assert 0 < len(values) < 30, "all pixels alike; the test is empty"
    torch.testing.assert_close(consistency(logits, targets, 0.6), torch.stack(values).mean())
    assert consistency(logits, targets, 0.9999) == 0


def trained(weight: float, steps: int = 100) -> tuple[float, float]:
    """Shares of planted errors that the weights and their average withstand."""
    pixels, _, noisy = planted()
    noise = NoiseConfig(image_labels=False, ema=EMAConfig(decay=0.98, weight=weight))
    supervision = Supervision(noise=noise)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(6, 64, 1), nn.ReLU(), nn.Conv2d(64, LABELS, 1))
    teacher = Teacher(model, noise.ema)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    index = torch.arange(len(pixels))
    for step in range(steps):
        optimizer.zero_grad()
        supervision(model(pixels), noisy, index, step, teacher(pixels)).backward()
        optimizer.step()
        teacher.update_parameters(model)
    return recovered(model), recovered(teacher)


def test_a_planted_error_is_learned_less():
    """The average withstands longer than the weights, and they longer with its predictions."""
    weights, average = trained(weight=0.0)
    assert average > weights + 0.03
    assert trained(weight=10.0)[0] > weights + 0.1


@pytest.mark.slow
def test_the_average_is_validated_and_loaded(shapes, tmp_path):
    """The trained weights are in the checkpoint too, to go on from."""
    checkpoint = train_seg(
        data=shapes,
        masks=shapes.root / shapes.masks,
        output=tmp_path / "run",
        val_split="val",
        model=SMALL_NET,
        augment=SMALL,
        optim=OptimConfig(lr=0.01),
        epochs=1,
        batch_size=4,
        trainer=CPU,
        noise=NoiseConfig(cap=0.5, ema=EMAConfig(decay=0.9, weight=0.5)),
    )
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    model = load_segmenter(checkpoint)[0]
    loaded = model.state_dict()
    assert loaded.keys() == {k[6:] for k in state if k.startswith("model.")}
    assert any(not torch.equal(loaded[k], state[f"model.{k}"]) for k in loaded)
    for name, value in loaded.items():
        assert torch.equal(value, state[f"teacher.module.{name}"])
    assert int(state["teacher.n_averaged"]) == 3
    scores = miou(model, load_records(shapes, "val", with_labels=False))
    facts = json.loads((checkpoint.parent / "manifest.json").read_text(encoding="utf-8"))
    assert facts["last_epoch"]["val_miou"] == pytest.approx(scores, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decay": 1.0}, r"noise\.ema\.decay: expected above 0 and below 1, got 1"),
        ({"weight": -1.0}, r"noise\.ema\.weight: expected at least 0"),
        ({"confidence": 1.0}, r"noise\.ema\.confidence: expected"),
        ({"keep": False}, r"noise\.ema: neither kept nor a target"),
    ],
)
def test_bad_options_are_refused_by_key(values, message):
    with pytest.raises(ValueError, match=message):
        EMAConfig(**values)
