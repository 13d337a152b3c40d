"""Write the card of a network, with its weights and its recipe, as model hubs read them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2

from wsss.data.atomic import atomic_write_text
from wsss.data.storage import file_sha256
from wsss.pipeline.publishing.content import CardRun, card_content
from wsss.pipeline.publishing.fields import CardFields, places_to_fill_in
from wsss.pipeline.publishing.folder import README, RECIPE, finish, require_untouched
from wsss.pipeline.publishing.front_matter import front_matter
from wsss.pipeline.publishing.networks import find_networks
from wsss.pipeline.publishing.pictures import copy_pictures, find_pictures
from wsss.pipeline.publishing.recipe import recipe
from wsss.pipeline.publishing.road import Road
from wsss.pipeline.repeating.spread import Place, find_repeated
from wsss.pipeline.reporting.runs import EvaluationFolder, Folder, find_folders, load_evaluations
from wsss.tasks.checkpoint_files import save_safetensors

log = logging.getLogger(__name__)


def card(
    run: Path,
    output: Path | None = None,
    network: str | None = None,
    seed: int | None = None,
    name: str | None = None,
    fields: CardFields = CardFields(),
    pictures: Path | None = None,
    pictures_licence: str | None = None,
) -> Path:
    """Write a model card of a run, with the network as safetensors and the recipe that made it.

    README.md says what was trained on what, with which labels, seeds, thresholds and how they were
    chosen, and what it scored, with intervals over images and the spread over seeds; its front
    matter is the Hugging Face hub's. model.safetensors is the network, its description inside;
    networks that it was made with lie beside it. run.yaml has the steps without any place of this
    machine. What no run knows is marked FILL IN, unless fields has it. A README.md that was worked
    on by hand is never overwritten. wsss push uploads the folder.

    Args:
        run: Folder of the run, or of one training.
        output: Folder of the card; null takes card in the run's.
        network: Name of the step that made the network; null takes the one that the run ends in.
        seed: In a run with several seeds, whose network; null takes the first, which no score
            chose.
        name: Name of the model; null takes that of the run's folder.
        fields: What no run knows.
        pictures: Folder of pictures that go with the card; null for none. Overlays of photographs
            belong to whom the photographs do.
        pictures_licence: Licence of these pictures.

    Returns:
        The card.
    """
    shown = find_pictures(pictures, pictures_licence)
    folder = output or run / "card"
    require_untouched(folder)
    remarks: list[str] = []
    found = _found(run, network, seed, remarks)
    for one in found.networks:
        save_safetensors(one.checkpoint, folder / one.file)
    title = name or run.resolve().name
    sums = {one.file: file_sha256(folder / one.file) for one in found.networks}
    data = found.road.steps[found.main.step].manifest["config"]["data"]
    text = _render(
        name=title,
        front_matter=front_matter(
            title,
            found.main.kind,
            fields,
            found.own_evaluations(),
            weakly=not found.taught_by_masks,
        ),
        pictures=[path.name for path in shown],
        pictures_licence=pictures_licence,
        **card_content(found, fields, sums),
    )
    atomic_write_text(folder / README, text)
    atomic_write_text(folder / RECIPE, recipe(found.road, found.steps, data))
    finish(folder, [README, RECIPE, *sums, *copy_pictures(shown, folder)])
    for remark in remarks:
        log.warning("%s", remark)
    for place in places_to_fill_in(text):
        log.info("to fill in in %s: %s", folder / README, place)
    return folder / README


def _found(run: Path, network: str | None, seed: int | None, remarks: list[str]) -> CardRun:
    """Find what the card is about."""
    folders = find_folders([run], remarks)
    evaluations = load_evaluations(folders, remarks)
    repeated = find_repeated(folders, evaluations, remarks)
    seeds = {place.seed for one in folders for place in [Place.of(one.path)] if place is not None}
    if seed is not None and seed not in seeds:
        there = ", ".join(map(str, sorted(seeds))) or "none, the run was made without --seeds"
        raise ValueError(f"seed: expected one of the run's ({there}), got {seed}")
    reason = "the first one, whatever it scored" if seed is None else "as its author chose"
    chosen = min(seeds, default=None) if seed is None else seed
    folders = [_of_seed(one, chosen) for one in folders if _is_of(one.path, chosen)]
    road = Road.of(folders)
    return CardRun(
        road=road,
        networks=find_networks(road, network),
        evaluations=_in_order(road, evaluations, chosen),
        repeated=repeated,
        seed=chosen,
        seed_reason=reason,
    )


def _is_of(path: Path, seed: int | None) -> bool:
    place = Place.of(path)
    return place is None if seed is None else place is not None and place.seed == seed


def _of_seed(folder: Folder, seed: int | None) -> Folder:
    """Name a folder as in a run without seeds."""
    return folder._replace(name=_step_name(folder.name, seed))


def _step_name(name: str, seed: int | None) -> str:
    return name if seed is None else name.removeprefix(f"seed-{seed}/")


def _in_order(
    road: Road, evaluations: Sequence[EvaluationFolder], seed: int | None
) -> list[EvaluationFolder]:
    """Take the evaluations of the seed, named as its steps, in the order of the road."""
    named = {
        _step_name(one.name, seed): replace(one, name=_step_name(one.name, seed))
        for one in evaluations
        if _is_of(one.path, seed)
    }
    return [named[step] for step in road.steps if step in named]


def _render(**content: Any) -> str:
    """Fill in the card's template; a missing key is an error, not an empty place."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wsss.pipeline"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template("card.md.jinja").render(content)


def _cell(value: object) -> str:
    """Text of a table's cell, in which a bar would end it and an angle would begin HTML."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
