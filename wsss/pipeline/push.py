"""Upload the card of a run, with its network, to the Hugging Face hub."""

import logging
from pathlib import Path

from wsss.data.hub import MODEL, HubFile, parse_url
from wsss.pipeline.publishing.fields import places_to_fill_in
from wsss.pipeline.publishing.folder import README, listed
from wsss.pipeline.publishing.upload import upload

log = logging.getLogger(__name__)


def push(
    run: Path,
    to: str,
    private: bool = True,
    message: str = "Network, card and recipe",
    dry_run: bool = False,
) -> str:
    """Upload the card of a run, with its network, to the Hugging Face hub.

    Uploads what wsss card has written and nothing else: README.md, run.yaml, the networks as
    safetensors, and the pictures that were named. hf://USER/NAME in the card becomes the
    repository. The repository is made if need be, and the files are one commit. Who may write there
    is decided by the token of `hf auth login` or HF_TOKEN.

    Args:
        run: Folder of the run, or of its card.
        to: Repository, hf://user/name.
        private: Make a new repository a private one; false makes it public, for which no place of
            the card may be left to fill in. One that is there stays as it is.
        message: Of the commit.
        dry_run: List what would be uploaded, and ask no network.

    Returns:
        What was uploaded, or would be.
    """
    repository = _repository(to)
    folder = run if (run / README).is_file() else run / "card"
    files = listed(folder)
    open_places = places_to_fill_in(files[README].read_text(encoding="utf-8"))
    if open_places and not private:
        raise ValueError(
            f"{files[README]}: left to fill in: {'; '.join(open_places)}; edit it, or give fields "
            "to `wsss card`, before it becomes public"
        )
    for place in open_places:
        log.warning("%s: left to fill in: %s", files[README], place)
    lines = [f"{name}  {path.stat().st_size:,} bytes" for name, path in files.items()]
    if dry_run:
        return "\n".join([f"would upload to {repository}, {_seen_by(private)}:", *lines])
    commit = upload(repository, files, message=message, private=private)
    return "\n".join(
        [f"uploaded to {repository}:", *lines, f"checkpoint: hf://{repository}@{commit}"]
    )


def _repository(to: str) -> str:
    """Parse the repository, which has no revision and no file.

    Raises:
        ValueError: It has another form.
    """
    found = parse_url(to, "to")
    if found != HubFile(found.repo, None, MODEL):
        raise ValueError(f"to: expected hf://user/name and nothing behind it, got {to}")
    return found.repo


def _seen_by(private: bool) -> str:
    return "a private repository if it is new" if private else "a public repository if it is new"
