"""Recipe for photographs whose objects are large, as those of people and animals."""

import torch

from wsss.pipeline.recipes.setup import Setup, filled, gigabytes, usual_sides

_CHANNELS = 1280 + 4 * 32
"""Values that are kept for each cell of stride 16: MobileNetV2's last stage, and four cells of its
stage of stride 8."""


def photographs(setup: Setup) -> str:
    """Format the steps from classifier to network as a commented YAML."""
    gpu = torch.cuda.is_available()
    count = len(setup.train)
    # twice the side is four times the work, of which a processor has enough
    most = 512 if gpu else 384
    usual_long, usual_short = usual_sides(setup, most)
    long_side = max(64, min(most, usual_long))
    short_side = max(64, min(long_side, usual_short))
    # about 2/3, 1 and 4/3 of the long side, in whole cells of the coarsest stage
    step = max(32, round(long_side / 96) * 32)
    views = [2 * step, 3 * step, 4 * step]
    values = count * _CHANNELS * sum((side // 16) ** 2 for side in views)
    return filled(
        "photographs.yaml",
        setup,
        # a processor alone would take too long for ResNet-50
        network="resnet50" if gpu else "mobilenet_v2",
        crop=max(64, max(short_side, long_side * 2 // 3) // 32 * 32),
        least=max(64, long_side * 4 // 5),
        most=long_side,
        base=long_side // 16 * 16,
        batch=max(1, min(32 if gpu else 16, count)),
        # a processor trains the last stages alone: a quarter of the time, and the better masks
        freeze=None if gpu else "features.13",
        epochs=max(5, min(30, (8000 if gpu else 5000) // count)),
        segmenter_epochs=max(8, min(60, 8000 // count)),
        sizes=views,
        cached=None if gpu else gigabytes(values, setup.output),
    )
