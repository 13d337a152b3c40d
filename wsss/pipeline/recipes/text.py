"""Recipe without a training before the masks: CLIP, by the names of the classes."""

import torch

from wsss.pipeline.recipes.setup import Setup, filled, quoted, usual_sides


def text(setup: Setup) -> str:
    """Format the steps from the names of classes to masks and to a network as a commented YAML."""
    gpu = torch.cuda.is_available()
    count = len(setup.train)
    # a patch of 16 pixels to a cell; attention takes memory with the square of their number
    most = 512 if gpu else 384
    usual, _ = usual_sides(setup, most)
    return filled(
        "text.yaml",
        setup,
        # the network that learns from the masks
        network="resnet50" if gpu else "mobilenet_v2",
        model_name="ViT-B-16",
        text_weights=quoted(setup.weights or "openai"),
        names=list(setup.config.classes),
        side=max(64, min(most, usual // 16 * 16)),
        segmenter_epochs=max(8, min(60, 8000 // count)),
        batch=max(2, min(16, count)),
    )
