"""Show where a classifier sees its classes in one photograph."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsss.attribution.gradients import GradientConfig
from wsss.attribution.methods import DEFAULT_METHOD, AttributionConfig, MethodName
from wsss.attribution.multiscale import MultiScaleConfig, attribute_multiscale
from wsss.attribution.targets import TargetConfig
from wsss.attribution.tif import TIFConfig
from wsss.data.atomic import atomic_write
from wsss.data.images import read_image, rgb
from wsss.data.rasters import Raster
from wsss.data.transforms import normalise
from wsss.parallel.devices import Device, full_float32, resolve_device
from wsss.refinement.seeds import normalise_maps
from wsss.tasks.checkpoint import load_classifier
from wsss.visualisation.overlay import MAP_COLOUR, overlay_maps
from wsss.visualisation.sheet import strip

_LONG_SIDE = 512
"""Most pixels of the long side at which a photograph is explained unless sizes are given."""


def explain(
    image: Path,
    checkpoint: Path,
    labels: list[str] | None = None,
    output: Path = Path("explained.png"),
    top: int = 3,
    method: MethodName = DEFAULT_METHOD,
    layers: list[str] | int | None = None,
    tif: TIFConfig = TIFConfig(),
    gradient: GradientConfig = GradientConfig(),
    target: TargetConfig = TargetConfig(),
    multiscale: MultiScaleConfig | None = None,
    height: int = 320,
    grey_bits: int = 16,
    device: Device = "auto",
) -> Path:
    """Explain one photograph and save a picture of its class maps.

    The picture shows the photograph and, for each class, the map laid over it, with the
    classifier's probability of the class.

    Args:
        image: The photograph.
        checkpoint: Classifier written by train_cls or text_classifier.
        labels: Names of the classes to explain. Without any: those that the classifier gives a
            probability of at least 0.5, at most top of them, or else its best one.
        output: PNG file for the picture.
        top: Most classes that are explained without labels.
        method: Attribution method: tif, base, cam, gradcam, gradcampp, xgradcam, layercam,
            hirescam, finercam, refinecam, shapleycam, scorecam, ablationcam, eigencam,
            eigengradcam, fullgrad; of vision transformers legrad and rollout; tokencut, whatever
            the class; of the input's pixels saliency, input_x_gradient, integrated_gradients,
            smoothgrad and guided_backprop.
        layers: Names of the model's modules that are explained, or a number n: the last n default
            layers; null takes the method's default.
        tif: Options of TIF.
        gradient: Which gradient the attribution is made of.
        target: Which number stands for a class, its logit or what it has more than others.
        multiscale: Sizes at which the photograph is explained; null: its own, but at most 512
            pixels, for a classifier knows little of images that are larger than those it learned.
        height: Height of the picture in pixels, without the captions.
        grey_bits: Of a photograph in 16-bit grey, how many bits are used.
        device: Where the network runs.

    Returns:
        The picture.
    """
    config = AttributionConfig(
        method=method, layers=layers, tif=tif, gradient=gradient, target=target
    )
    if top < 1 or height < 1:
        raise ValueError(f"top and height: expected at least 1, got {top} and {height}")
    place = resolve_device(device)
    model, classes = load_classifier(checkpoint)
    model.to(place)
    bands = len(model.normalisation.mean)
    pixels = read_image(
        image if bands == 3 else Raster(image, tuple(range(1, bands + 1))), grey_bits
    )
    names = list(classes)
    unknown = [label for label in labels or [] if label not in classes]
    if unknown:
        raise ValueError(
            f"labels: {', '.join(unknown)} not among the classes of {checkpoint}: "
            f"{', '.join(names)}"
        )
    photograph = normalise(pixels, model.normalisation).to(place)
    if multiscale is None:
        long_side = min(_LONG_SIDE, max(photograph.shape[1:]))
        multiscale = MultiScaleConfig(scales=(1.0,), long_side=max(32, long_side))
    with torch.no_grad(), full_float32():
        # at the base size: the scale on which a class counts as predicted elsewhere too
        probabilities = model(multiscale.base_view(photograph))[0].sigmoid().cpu()
    if labels:
        chosen = sorted({names.index(label) for label in labels})
    else:
        likely = probabilities.argsort(descending=True).tolist()[:top]
        # the best class in any case: a picture without a map explains nothing
        chosen = sorted(k for i, k in enumerate(likely) if i == 0 or probabilities[k] >= 0.5)
    wanted = torch.zeros(len(names))
    wanted[chosen] = 1
    with full_float32():
        maps = attribute_multiscale(model, photograph, wanted, multiscale, config).cpu().numpy()
    scores = normalise_maps(maps)
    shown = rgb(pixels)
    pictures = [shown] + [
        overlay_maps(shown, scores[p : p + 1], MAP_COLOUR) for p in range(len(chosen))
    ]
    captions = [image.name] + [f"{names[k]} {probabilities[k]:.2f}" for k in chosen]
    picture = strip(pictures, captions, height=height)
    with atomic_write(output) as file:
        Image.fromarray(np.ascontiguousarray(picture)).save(file, format="PNG")
    return output
