"""Texts of classes and of what is around them, of which a text tower makes embeddings."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

log = logging.getLogger(__name__)

BACKGROUND = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea",
    "railway", "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road",
    "rock", "street", "valley", "bridge", "sign",
)  # fmt: skip
"""What is around the classes of PASCAL VOC, as CLIP-ES lists it."""


@dataclass(frozen=True)
class PromptConfig:
    """Texts that stand for the classes and for the background.

    Args:
        templates: Sentences, each with {} where the text of a class comes; the embeddings of
            several are averaged. The default is CLIP-ES'.
        classes: Texts of a class in place of its name, such as {bird: [bird avian, sparrow]}; the
            embeddings of several are averaged.
        background: What else is in the images. A word that is also a class is left out, and that is
            logged.
    """

    templates: tuple[str, ...] = ("a clean origami {}.",)
    classes: dict[str, list[str]] = field(default_factory=dict)
    background: tuple[str, ...] = BACKGROUND

    def __post_init__(self) -> None:
        if not self.templates:
            raise ValueError("prompts.templates: expected at least one, such as 'a photo of a {}.'")
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"prompts.templates: expected one {{}} in each, got {template!r}")
        for name, texts in self.classes.items():
            if not texts or not all(text.strip() for text in texts):
                raise ValueError(f"prompts.classes.{name}: expected texts, got {texts}")
        if not all(word.strip() for word in self.background):
            raise ValueError("prompts.background: expected words, one of them is empty")


class Prompts(NamedTuple):
    """What the text tower reads.

    Args:
        classes: For each of the K classes, its sentences.
        background: For each of B things around them, its sentences.
    """

    classes: list[list[str]]
    background: list[list[str]]


def prompts_of(config: PromptConfig, names: Sequence[str]) -> Prompts:
    """Write the sentences of a data set's classes and of its background.

    Args:
        config: Texts and templates.
        names: The classes, in their order. An underscore in one is read as a space.

    Raises:
        ValueError: Texts of an unknown class, two classes of one text, or no background left.
    """
    for name in config.classes:
        if name not in names:
            near = get_close_matches(name, names, n=3) or list(names)
            raise ValueError(
                f"prompts.classes.{name}: data.classes has no such class, but {', '.join(near)}"
            )
    texts = {name: config.classes.get(name, [name.replace("_", " ")]) for name in names}
    owner: dict[str, str] = {}
    for name, own in texts.items():
        for text in own:
            other = owner.setdefault(text.casefold(), name)
            if other != name:
                raise ValueError(f"prompts.classes: {other} and {name} share the text {text!r}")
    taken = {*owner, *(name.casefold() for name in names)}
    background = [word for word in config.background if word.casefold() not in taken]
    left_out = [word for word in config.background if word.casefold() in taken]
    if left_out:
        log.info("prompts.background: %s left out: also a class", ", ".join(left_out))
    if not background:
        raise ValueError(
            "prompts.background: expected at least one thing that is no class; without any, no "
            "number says that a class is not there"
        )
    return Prompts(
        [_sentences(config, own) for own in texts.values()],
        [_sentences(config, [word]) for word in background],
    )


def _sentences(config: PromptConfig, texts: Sequence[str]) -> list[str]:
    """Put each text into each template."""
    return [template.replace("{}", text) for text in texts for template in config.templates]
