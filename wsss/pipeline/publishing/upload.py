"""Upload of files to a repository of the Hugging Face hub, as one commit."""

from collections.abc import Mapping
from pathlib import Path

from wsss.pipeline.publishing.folder import README

_CLIENTS = ("httpx", "httpcore", "requests", "urllib3")
"""First words of the packages of HTTP clients that versions of huggingface_hub use."""

_PLACEHOLDER = "hf://USER/NAME"


def upload(repository: str, files: Mapping[str, Path], *, message: str, private: bool) -> str:
    """Make the repository if need be, and commit the files.

    Args:
        repository: ``user/name``.
        files: Their paths on this machine by their names there.
        message: Of the commit.
        private: Whether a new repository is private.

    Returns:
        The commit.

    Raises:
        PermissionError: Nobody is logged in, or this user may not write there.
        ValueError: The hub takes no such name, or not this card.
        OSError: The hub is not reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, ModelCard
    from huggingface_hub.utils import HfHubHTTPError

    card = files[README].read_text(encoding="utf-8").replace(_PLACEHOLDER, f"hf://{repository}")
    contents = {name: path for name, path in files.items() if name != README}
    operations = [
        CommitOperationAdd(path_in_repo=README, path_or_fileobj=card.encode()),
        *(CommitOperationAdd(path_in_repo=n, path_or_fileobj=p) for n, p in contents.items()),
    ]
    # the token is looked up by the library, from HF_TOKEN or where `hf auth login` left it
    api = HfApi(library_name="wsss")
    try:
        # before there is a repository, which would stay empty
        ModelCard(card).validate(repo_type="model")
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.create_commit(repository, operations=operations, commit_message=message)
    except HfHubHTTPError as error:
        status = None if error.response is None else error.response.status_code
        if status in (401, 403):
            raise PermissionError(
                f"to: hf://{repository}: the hub refuses it ({status}); log in by `hf auth login` "
                "or HF_TOKEN, with a token that may write there"
            ) from error
        raise OSError(f"to: hf://{repository}: {_line(error)}") from error
    except ValueError as error:  # a name, or front matter, that the hub does not take
        raise ValueError(f"to: hf://{repository}: {_line(error)}") from error
    except Exception as error:
        # the library lets those of its own HTTP client through, which are no OSError
        if not isinstance(error, OSError) and not _package(error).startswith(_CLIENTS):
            raise
        raise OSError(f"to: hf://{repository}: the hub is not reached: {_line(error)}") from error
    commit: str = done.oid
    return commit


def _line(error: Exception) -> str:
    """Text of an error in one line."""
    return " ".join(str(error).split())


def _package(error: Exception) -> str:
    return type(error).__module__.partition(".")[0]
