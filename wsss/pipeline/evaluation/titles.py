"""Titles of scores in tables: one word for a number, in the terminal and in the report."""

MEANS = {
    "miou": "mIoU",
    "frequency_weighted_iou": "fw IoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_recall": "mean recall",
    "mean_precision": "mean precision",
    "mean_f1": "mean F1",
    "coverage": "coverage",
}
"""Titles of the fields of `wsss.runs.evaluation_scores.Means`."""

OF_A_CLASS = {
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "false_positive_rate": "false positives",
    "false_negative_rate": "misses",
    "boundary_iou": "boundary IoU",
}
"""Titles of the fields of `ClassScores`; its two kinds of errors are shares of the union."""
