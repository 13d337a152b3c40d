"""Tiny segment-anything networks of transformers, of each kind, and what they are shown."""

import numpy as np
import pytest

transformers = pytest.importorskip("transformers", reason="the extra sam is not installed")

DECODER = {"hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
           "iou_head_hidden_dim": 16}  # fmt: skip
PROMPTS = {"hidden_size": 16, "mask_input_channels": 4}
SIZES = [[16, 16], [8, 8], [4, 4]]


def tiny_sam():
    vision = {"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 64, "patch_size": 8, "window_size": 4,
              "global_attn_indexes": [0], "num_pos_feats": 8, "mlp_dim": 16}  # fmt: skip
    config = transformers.SamConfig(
        vision_config=vision,
        prompt_encoder_config={**PROMPTS, "image_size": 64, "patch_size": 8},
        mask_decoder_config=DECODER,
    )
    images = transformers.SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}
    )
    return transformers.SamModel(config), transformers.SamProcessor(images)


def tiny_sam2():
    body = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1,
            "image_size": [64, 64], "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 2, 2, 2],
            "window_size_per_stage": [4, 4, 4, 4], "global_attention_blocks": [3]}  # fmt: skip
    vision = {"model_type": "sam2_vision_model", "backbone_config": body, "fpn_hidden_size": 16,
              "backbone_channel_list": [64, 32, 16, 8],
              "backbone_feature_sizes": SIZES}  # fmt: skip
    config = transformers.Sam2Config(
        vision_config=vision,
        prompt_encoder_config={**PROMPTS, "image_size": 64, "patch_size": 16},
        mask_decoder_config=DECODER,
    )
    images = transformers.Sam2ImageProcessor(size={"height": 64, "width": 64})
    return transformers.Sam2Model(config), transformers.Sam2Processor(images)


def tiny_sam3():
    body = {"model_type": "sam3_vit_model", "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56, "patch_size": 14,
            "window_size": 2, "global_attn_indexes": [0], "pretrain_image_size": 28}  # fmt: skip
    vision = {"model_type": "sam3_vision_model", "backbone_config": body, "fpn_hidden_size": 16,
              "backbone_feature_sizes": SIZES}  # fmt: skip
    config = transformers.Sam3TrackerConfig(
        vision_config=vision,
        prompt_encoder_config={**PROMPTS, "image_size": 56, "patch_size": 14},
        mask_decoder_config=DECODER,
    )
    images = transformers.Sam3ImageProcessor(size={"height": 56, "width": 56})
    return transformers.Sam3TrackerModel(config), transformers.Sam3TrackerProcessor(images)


TINY = {"sam": tiny_sam, "sam2": tiny_sam2, "sam3": tiny_sam3}


def photograph(size=(60, 80), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def scores(size=(60, 80), seed=0):
    """(3, H, W): two classes, each with a few peaks."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(0, 0.3, (3, *size)).astype(np.float32)
    values[0] = 0.4
    values[1, 10:20, 10:25] += 0.6
    values[2, 40:50, 50:75] += 0.6
    return values
