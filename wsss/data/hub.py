"""Files of the Hugging Face hub by URL: ``hf://user/name[@revision][/file]``.

A file is downloaded into the hub's own cache once, and read from there. The address, the cache and
the token are huggingface_hub's (``HF_ENDPOINT``, ``HF_HUB_CACHE``, ``hf auth login`` or
``HF_TOKEN``): a token is neither read, stored nor shown here.
"""

import functools
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

MODEL = "model.safetensors"
"""The file that a URL without one means: the network that a repository is about."""

_OTHERS = ("datasets", "spaces", "buckets")
"""First words of URLs of the hub that are no repository of a model; fsspec reads their files."""

_FORM = re.compile(r"hf://(?P<repo>[^/@]+/[^/@]+)(@(?P<revision>[^/@]+))?(/(?P<file>.*))?")
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


class HubFile(NamedTuple):
    """File of a repository of the hub.

    Args:
        repo: ``user/name``.
        revision: Branch, tag or commit; None is the main branch, which may move.
        file: Path in the repository.
    """

    repo: str
    revision: str | None
    file: str

    @property
    def url(self) -> str:
        """The file's URL."""
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"hf://{self.repo}{revision}/{self.file}"


def is_model_url(url: str) -> bool:
    """Whether a text names something in a repository of a model, be it in the right form or not."""
    return url.startswith("hf://") and url[5:].partition("/")[0] not in _OTHERS


def parse_url(url: str, key: str) -> HubFile:
    """Parse a URL of the hub.

    Args:
        url: ``hf://user/name[@revision][/file]``; a revision's slash is written ``%2F``. Without a
            file it is `MODEL`.
        key: Name of the parameter, for the error.

    Raises:
        ValueError: It has another form.
    """
    found = _FORM.fullmatch(url)
    if found is None or not _NAME.fullmatch(found["repo"]):
        raise ValueError(f"{key}: expected hf://user/name, hf://user/name@revision or one of these "
                         f"with /file behind it, got {url}")  # fmt: skip
    revision = None if found["revision"] is None else unquote(found["revision"])
    return HubFile(found["repo"], revision, found["file"] or MODEL)


@functools.lru_cache(maxsize=64)
def download(wanted: HubFile, what: str) -> Path:
    """Download a file into the hub's cache, unless it is there; return its path there.

    A process asks the hub once for each file: all that it does is done with one and the same. What
    the hub cannot be asked for is taken from the cache.

    Raises:
        FileNotFoundError: There is no such repository, revision or file, or the hub does not show
            it to this user.
        OSError: The hub is not reached, and the file is not in the cache.
        ValueError: The hub takes no such name.
    """
    # imported here: every command imports the storage of files, and few ask the hub
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{what} not found: {wanted.url}"
    try:
        return Path(hf_hub_download(wanted.repo, wanted.file, revision=wanted.revision))
    except GatedRepoError as error:
        raise FileNotFoundError(
            f"{name}: its owner asks for conditions to be accepted, on the page of {wanted.repo}"
        ) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{name}: no repository {wanted.repo}, or a private one; what is private needs `hf "
            "auth login` or HF_TOKEN of somebody who may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"{name}: {wanted.repo} has no such revision") from error
    except LocalEntryNotFoundError as error:
        raise OSError(
            f"{name}: the hub is not reached, and its cache on this machine does not hold the file"
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(
            f"{name}: {wanted.repo} has no such file; name another one, hf://{wanted.repo}/FILE"
        ) from error
    except HFValidationError as error:
        raise ValueError(f"{what}: {wanted.url}: {error}") from error
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(f"cannot read {what} {wanted.url}: {reason}") from error
