"""Signals, volumes, and images of any number of channels."""

import pytest
import torch
from torch import nn

from wsss.attribution import METHODS, attribute, find_layers

PARTS = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AdaptiveAvgPool1d),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d),
    3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AdaptiveAvgPool3d),
}
SIZES = {1: (40,), 2: (16, 20), 3: (6, 16, 20)}


def network(dims: int, channels: int = 3) -> nn.Module:
    torch.manual_seed(dims)
    conv, norm, pool, mean = PARTS[dims]
    return nn.Sequential(
        nn.Sequential(conv(channels, 6, 3, padding=1), norm(6), nn.ReLU(), pool(2)),
        nn.Sequential(conv(6, 8, 3, padding=1), norm(8), nn.ReLU()),
        mean(1), nn.Flatten(), nn.Linear(8, 4),
    ).double().eval()  # fmt: skip


def data(dims: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, *SIZES[dims], generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_signals_and_volumes(method, dims):
    model, inputs = network(dims), data(dims)
    layers = "1" if METHODS[method].takes_layers else None
    if method in ("legrad", "rollout"):
        with pytest.raises(ValueError, match="expected a vision transformer"):
            attribute(model, inputs, 1, method=method)
        return
    found = attribute(model, inputs, [[0, 2], [1]], method=method, layers=layers)
    assert found.maps.shape == (3, *SIZES[dims])
    assert torch.isfinite(found.maps).all()
    assert found.maps.min() >= 0


@pytest.mark.parametrize(
    "method", [m for m, s in METHODS.items() if m not in ("legrad", "rollout")]
)
def test_a_signal_is_an_image_of_one_row(method):
    """The same network, of which each kernel has one row: the same map."""
    line = network(1)
    plane = network(2)
    for one, other in zip(line.modules(), plane.modules(), strict=True):
        if isinstance(one, nn.Conv1d):
            other.weight.data = torch.zeros_like(other.weight)
            other.weight.data[:, :, 1] = one.weight.data
            other.bias.data = one.bias.data
        elif isinstance(one, nn.BatchNorm1d | nn.Linear):
            other.load_state_dict(one.state_dict())
        elif isinstance(other, nn.MaxPool2d):
            other.kernel_size = other.stride = (1, 2)
    signal = data(1)
    layers = ["0", "1"] if METHODS[method].takes_layers and method != "cam" else None
    layers = "1" if method == "cam" else layers
    found = attribute(line, signal, 2, method=method, layers=layers).maps
    expected = attribute(plane, signal[:, :, None], 2, method=method, layers=layers).maps
    torch.testing.assert_close(found, expected[:, 0])


@pytest.mark.parametrize("channels", [1, 2, 4, 16])
def test_images_of_any_number_of_channels(channels):
    model, images = network(2, channels), data(2, channels)
    for method, spec in METHODS.items():
        if method not in ("legrad", "rollout"):
            layers = "1" if spec.takes_layers else None
            found = attribute(model, images, 0, method=method, layers=layers)
            assert found.maps.shape == (2, 16, 20), method


def test_video_of_torchvisions_r3d():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.video.r3d_18(weights=None, num_classes=5).eval()
    clip = torch.randn(1, 3, 8, 64, 64)
    assert find_layers(model, clip) == ["layer2", "layer3", "layer4"]
    found = attribute(model, clip, [[1, 3]])
    assert found.maps.shape == (2, 8, 64, 64)
    assert (found.maps.amax((1, 2, 3)) > 0).all()


def test_a_planted_event_is_found_in_a_signal():
    """A filter for a peak: the map is there, to a cell."""
    model = nn.Sequential(
        nn.Conv1d(1, 1, 5, padding=2, bias=False), nn.ReLU(), nn.MaxPool1d(4),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(1, 1, bias=False),
    ).eval()  # fmt: skip
    model[0].weight.data[:] = torch.tensor([-1.0, 0, 2, 0, -1])
    model[5].weight.data[:] = 1
    signal = torch.zeros(1, 1, 200)
    signal[0, 0, 130] = 1
    for method in ("tif", "gradcam", "scorecam", "integrated_gradients"):
        layers = None if method == "integrated_gradients" else "2"
        found = attribute(model, signal, 0, method=method, layers=layers).maps[0]
        assert abs(int(found.argmax()) - 130) <= 4, method


class SignalTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.token = nn.Conv1d(2, 16, 8, 8), nn.Parameter(torch.randn(1, 1, 16))
        self.blocks = nn.Sequential(
            *[nn.TransformerEncoderLayer(16, 2, 32, batch_first=True) for _ in range(2)]
        )
        self.head = nn.Linear(16, 5)

    def forward(self, signals):
        tokens = self.patches(signals).mT
        tokens = torch.cat([self.token.expand(len(signals), -1, -1), tokens], 1)
        return self.head(self.blocks(tokens)[:, 0])


def test_the_class_token_of_a_signal_is_no_cell():
    model, signals = SignalTransformer().eval(), torch.randn(2, 2, 128)
    with pytest.raises(ValueError, match="only its class token reaches the logits"):
        attribute(model, signals, 1, method="gradcam", layers="blocks.1")
    asked = {"method": "eigengradcam", "layers": "blocks.0"}
    found = attribute(model, signals, 1, **asked).maps
    expected = attribute(model, signals, 1, reshape=lambda t: t[:, 1:].movedim(-1, 1), **asked)
    torch.testing.assert_close(found, expected.maps)
    for method in ("legrad", "rollout"):
        with pytest.raises(ValueError, match=r"of images \(B, C, H, W\) alone"):
            attribute(model, signals, 1, method=method)


def test_a_signal_network_with_planes_further_on():
    class Mix(nn.Module):
        def __init__(self):
            super().__init__()
            self.line, self.plane = nn.Conv1d(2, 8, 5, padding=2), nn.Conv2d(1, 4, 3, padding=1)
            self.head = nn.Linear(4, 5)

        def forward(self, x):
            return self.head(self.plane(self.line(x)[:, None].relu()).relu().mean((2, 3)))

    found = attribute(Mix().eval(), torch.randn(3, 2, 128), 1, method="gradcam", layers="line")
    assert found.maps.shape == (3, 128)


def test_scales_are_of_images():
    with pytest.raises(ValueError, match=r"scales: expected images \(B, C, H, W\), got \(2, 3, 40"):
        attribute(network(1), data(1), 0, layers="1", scales=(0.5, 1.0))


def test_sizes_and_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="size: expected 1 numbers, got"):
        attribute(network(1), data(1), 0, layers="1", size=(4, 5))
    with pytest.raises(ValueError, match=r"images: expected \(B, C, H, W\), signals"):
        attribute(network(2), torch.zeros(2, 3), 0, layers="1")
