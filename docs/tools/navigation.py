"""Navigation: a folder of mkdocs.yml's nav stands for the pages in it."""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
"""Link of a page in Markdown; its group is the target."""


def targets(page: str, text: str) -> list[str]:
    """Files that a page links to, as paths below docs/, in the order of the text.

    Args:
        page: Path of the page below docs/.
        text: Its Markdown.
    """
    folder = posixpath.dirname(page)
    found = []
    for url in LINK.findall(text):
        path = url.partition("#")[0]
        if path and "://" not in url:
            found.append(posixpath.normpath(posixpath.join(folder, path)))
    return found


def expanded(nav: Any, pages: Mapping[str, str]) -> Any:
    """Replace each folder of a navigation, a text that ends with a slash, by its pages.

    The pages of its subfolders are not among them.

    Args:
        nav: Lists, mappings of titles, and paths below docs/, as in mkdocs.yml.
        pages: Text of each page by its path.
    """
    if isinstance(nav, list):
        inner = [expanded(entry, pages) for entry in nav]
        # a folder in a list is followed by its pages in the same list
        return [
            page
            for entry, found in zip(nav, inner, strict=True)
            for page in (found if isinstance(entry, str) else [found])
        ]
    if isinstance(nav, dict):
        return {title: expanded(entry, pages) for title, entry in nav.items()}
    return _folder(nav, pages) if nav.endswith("/") else [nav]


def _folder(folder: str, pages: Mapping[str, str]) -> list[str]:
    inside = [page for page in pages if posixpath.dirname(page) == folder.rstrip("/")]
    index = f"{folder}index.md"
    linked = targets(index, pages.get(index, ""))
    order = {page: place for place, page in reversed(list(enumerate(linked)))}
    order[index] = -1
    return sorted(inside, key=lambda page: (order.get(page, len(linked)), page))
