"""Metadata of an exported file."""

import json
from dataclasses import replace

import pytest

from wsss.deployed import Description
from wsss.normalisation import Normalisation

FOUR_BANDS = Normalisation((0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.5, 0.25))
OURS = Description(
    kind="segmenter", classes={"ring": 3, "étoile": 7}, palette=("#000000", "#010203", "#0a0b0c"),
    normalisation=FOUR_BANDS, outputs=("probabilities", "mask"), size=(96, 128), least_side=32,
    bits=8, licence="CC BY 4.0", checkpoint_sha256="ab", version="0.1.0",
)  # fmt: skip


@pytest.mark.parametrize("one", [OURS, replace(OURS, size=None)])
def test_what_is_written_is_read(one):
    assert Description.of(one.metadata(), "m.onnx") == one


def test_other_programs_find_plain_json():
    texts = OURS.metadata()
    assert json.loads(texts["wsss.mask_values"]) == [0, 3, 7]
    assert json.loads(texts["wsss.classes"]) == {"ring": 3, "étoile": 7}
    assert json.loads(texts["wsss.palette"])[1] == "#010203"
    assert OURS.bands == 4


@pytest.mark.parametrize("missing", ["wsss.classes", "wsss.normalisation"])
def test_a_file_of_others_is_named(missing):
    texts = OURS.metadata()
    del texts[missing]
    with pytest.raises(ValueError, match=r"checkpoint m\.onnx: expected a file of wsss export_m"):
        Description.of(texts, "m.onnx")
