"""The tables of an evaluation: their numbers, and one word for each in all of them."""

import dataclasses

import pytest

from tests.runs.test_evaluation import BEFORE
from wsss.pipeline.evaluation import titles
from wsss.pipeline.evaluation.tables import format_table, latex_row, markdown_row
from wsss.runs.evaluation import Evaluation
from wsss.runs.evaluation_scores import ClassScores, Means

# the numbers as the code that wrote the file printed them
TABLE = """\
class                IoU  precision  recall      F1  false positives  misses
background         84.54      86.75   97.08   91.62            12.91    2.55
cat                52.43      84.53   57.99   68.79             9.60   37.98
cow                92.04      95.19   96.53   95.86             4.65    3.31
dog                73.21      97.15   74.81   84.53             2.14   24.65
horse              43.90      82.50   48.40   61.01             9.31   46.79
person             11.46      27.18   16.54   20.57            30.72   57.82
sheep              72.63      90.69   78.48   84.14             7.45   19.92
----------------------------------------------------------------------------
mIoU               61.46   95 % interval over images 49.59 .. 72.63
fw IoU             76.37
pixel accuracy     86.26
mean recall        67.12
mean precision     80.57
mean F1            72.36
coverage          100.00
against /tmp/base/old/eval_tif: -4.97   95 % -11.94 .. +1.46; ahead in 8 % of resamples; \
7 images better, 11 worse
threshold       cat 0.34, cow 0.36, dog 0.39, horse 0.36, person 0.42, sheep 0.36 \
(Otsu's threshold of the scores on twenty, without masks, 20 images)
classes of each image: given, as in /tmp/base/old/tif (label_mode)
scored 20 of 20 images of the list
pooled int64 confusion matrix; ground truth 255 ignored; predicted 255 counts as a miss; \
classes with an empty union are nan and left out of the mean"""


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation.read(BEFORE)


def test_the_terminal_s_table():
    assert format_table(BEFORE) == TABLE


def test_a_row_for_a_paper(evaluation):
    assert markdown_row(evaluation).splitlines()[-1] == (
        "| eval_otsu | 84.5 | 52.4 | 92.0 | 73.2 | 43.9 | 11.5 | 72.6 | 61.5 |"
    )
    assert latex_row(evaluation).splitlines()[-2] == (
        r"eval\_otsu & 84.5 & 52.4 & 92.0 & 73.2 & 43.9 & 11.5 & 72.6 & 61.5 \\"
    )


def test_what_is_not_known_has_no_line(evaluation, tmp_path):
    nothing = Means(*[None] * 8)
    dataclasses.replace(
        evaluation,
        threshold=None,
        made_by=None,
        against=dataclasses.replace(evaluation.against, interval=(None, None)),
        means=nothing,
        intervals=dataclasses.replace(evaluation.intervals, low=nothing, high=nothing),
        classes=dict.fromkeys(evaluation.classes, ClassScores(*[None] * 9)),
    ).write(tmp_path)
    lines = format_table(tmp_path).splitlines()
    assert lines[1].split() == ["background", *["nan"] * 6]
    assert lines[9].split() == ["mIoU", "nan"]
    assert lines[16:] == [
        "against /tmp/base/old/eval_tif: nothing to compare", *TABLE.splitlines()[-2:]
    ]  # fmt: skip


def test_no_two_scores_share_a_word():
    for words in (titles.MEANS, titles.OF_A_CLASS):
        assert len(set(words.values())) == len(words)
    assert set(titles.MEANS) < {field.name for field in dataclasses.fields(Means)}
    columns = {field.name for field in dataclasses.fields(ClassScores)}
    assert set(titles.OF_A_CLASS) == columns - {"iou_low", "iou_high"}
