"""First part of a card, which model hubs read: YAML by the conventions of the Hugging Face hub."""

import re
from collections.abc import Sequence

from wsss.pipeline.publishing.fields import CardFields
from wsss.pipeline.reporting.runs import EvaluationFolder

_TASK = {"segmenter": "image-segmentation", "boundary": "image-segmentation"}
"""Task of each kind of network by the hub's names; a classifier's is image-classification."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def front_matter(
    name: str,
    kind: str,
    fields: CardFields,
    evaluations: Sequence[EvaluationFolder],
    *,
    weakly: bool,
) -> str:
    """Write the front matter, without the lines of dashes around it.

    Args:
        name: Name of the model.
        kind: Kind of its network.
        fields: What the author says of it.
        evaluations: Those of this network, whose scores become ``model-index``.
        weakly: Whether no mask of people taught it.
    """
    from huggingface_hub import EvalResult, ModelCardData

    task = _TASK.get(kind, "image-classification")
    data_name = fields.data_name
    linked = data_name is not None and _HUB_NAME.fullmatch(data_name) is not None
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=data_name if linked and data_name is not None else "other",
            dataset_name=data_name or "not named yet",
            dataset_split=one.record.split,
            metric_type="mean_iou",
            metric_name=f"mIoU ({one.name})",
            metric_value=round(one.record.means.miou, 4),
        )
        for one in evaluations
        if one.record.means.miou is not None
    ]
    card = ModelCardData(
        license=fields.licence or "other",
        license_name=None if fields.licence else "not-chosen-yet",
        library_name="wsss",
        pipeline_tag=task,
        tags=[
            "wsss",
            "semantic-segmentation",
            *(["weakly-supervised"] if weakly else []),
            kind.replace("_", "-"),
        ],
        datasets=[data_name] if linked and data_name is not None else None,
        metrics=["mean_iou"] if results else None,
        model_name=name,
        eval_results=results or None,
    )
    text: str = card.to_yaml().strip()
    return text
