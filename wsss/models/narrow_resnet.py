"""Narrow ResNet for a few hundred small images, trained from random weights on a CPU.

ResNet-10 is ResNet-18 (He et al., CVPR 2016) with one block in each stage in place of two. This one
has a quarter of its channels, and its stem halves the image once, as is usual for images of 32 to
128 pixels: a cell of the last feature map is 16 pixels wide. torchvision's names and initialisation
are kept.
"""

from collections import OrderedDict

from torch import nn
from torchvision.models.resnet import BasicBlock

WIDTH = 16
"""Channels of the stem and of the first stage; each further stage has twice as many."""


def narrow_resnet10(weights: None = None) -> nn.Module:
    """ResNet-10 of width 16 with random weights: (B, 3, H, W) to (B, 1000).

    The body has .31 million weights, the head .13 million.

    Args:
        weights: Only None; nobody has published any.
    """
    children = {
        "conv1": nn.Conv2d(3, WIDTH, 3, stride=2, padding=1, bias=False),
        "bn1": nn.BatchNorm2d(WIDTH),
        "relu": nn.ReLU(inplace=True),
        "layer1": _stage(WIDTH, WIDTH, stride=1),
        "layer2": _stage(WIDTH, 2 * WIDTH, stride=2),
        "layer3": _stage(2 * WIDTH, 4 * WIDTH, stride=2),
        "layer4": _stage(4 * WIDTH, 8 * WIDTH, stride=2),
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(8 * WIDTH, 1000),
    }
    network = nn.Sequential(OrderedDict(children))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _stage(inputs: int, channels: int, stride: int) -> nn.Sequential:
    """Build a stage of one block, with a convolution in its shortcut where the shape changes."""
    shortcut = None
    if stride != 1 or inputs != channels:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
        )
    return nn.Sequential(BasicBlock(inputs, channels, stride, shortcut))
