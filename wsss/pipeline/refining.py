"""Keys ``refine`` and ``crf`` of the commands that refine, and what their steps run with."""

from dataclasses import fields

import torch

from wsss.data.storage import fetched, file_sha256
from wsss.refinement.densecrf.config import CRFConfig
from wsss.refinement.maps import Context
from wsss.refinement.normal import NormalConfig
from wsss.refinement.normal.memory import NormalMemory
from wsss.refinement.sam import SamConfig
from wsss.refinement.steps import NO_REFINEMENT, RefinementChain
from wsss.tasks.guides import Guides
from wsss.tasks.sam import checkpoint_sha256


def refinement_of(
    refine: RefinementChain | None, crf: CRFConfig | None, default: CRFConfig | None
) -> RefinementChain:
    """Build the chain of steps of a command.

    Args:
        refine: Steps, or None: ``crf`` says it.
        crf: Short for the one step of a dense CRF; None for no step.
        default: Default of the command's ``crf``.

    Raises:
        ValueError: Both are given.
    """
    if refine is None:
        return NO_REFINEMENT if crf is None else RefinementChain((crf,))
    # a crf at its default may not have been given at all: only another one contradicts refine
    if crf not in (None, default):
        raise ValueError("crf: short for refine: [{kind: crf, ...}]; give one of the two")
    return refine


def context_on(device: torch.device | str) -> Context:
    """What the steps of a command run with: a device, and networks that are loaded when asked."""
    return Context(str(device), Guides(device))


def contents_of(refinement: RefinementChain) -> dict[str, str]:
    """Contents of the files of a chain, for an output folder's identity, by step and key.

    Raises:
        FileNotFoundError: One is not there; the message names its key.
        ValueError: A memory of normal images was made by another network than the step asks, or a
            checkpoint is no segment-anything network.
    """
    contents = {}
    for number, step in enumerate(refinement.steps, start=1):
        if isinstance(step, SamConfig):
            # a folder, or a name of the hub, which is downloaded here: before any image
            contents[f"refine_{number}_checkpoint_sha256"] = checkpoint_sha256(step.checkpoint)
            continue
        for field in fields(step):
            path = getattr(step, field.name)
            if field.name not in ("checkpoint", "memory") or path is None:
                continue
            path = fetched(path, f"refine, step {number}, {field.name}")
            if not path.is_file():
                raise FileNotFoundError(
                    f"refine, step {number}, {field.name}: no such file: {path}"
                )
            contents[f"refine_{number}_{field.name}_sha256"] = file_sha256(path)
        if isinstance(step, NormalConfig):
            made_by = NormalMemory.read(step.memory).network
            if made_by != contents[f"refine_{number}_checkpoint_sha256"]:
                raise ValueError(
                    f"refine, step {number}: the memory {step.memory} was made by another network "
                    f"than {step.checkpoint}; run normal_memory again"
                )
    return contents
