"""What several tests of the models share: backbones that are quick to build."""

SMALL = ("resnet18", "mobilenet_v2", "squeezenet1_0", "efficientnet_b0")
