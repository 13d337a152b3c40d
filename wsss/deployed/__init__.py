"""Networks as ONNX files: what such a file says of itself, and its passes, all without torch."""

from wsss.deployed.description import Description
from wsss.deployed.network import OnnxNetwork, is_onnx
from wsss.deployed.segmenting import label_probabilities

__all__ = ["Description", "OnnxNetwork", "is_onnx", "label_probabilities"]
