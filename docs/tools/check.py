"""Check what `mkdocs build --strict` does not: pages nobody links to, names without reference, ...

    python docs/tools/check.py site      # after mkdocs build; exit code 1 and a line for each fault

Links between pages, their anchors and the navigation are MkDocs' to check (`validation` in
mkdocs.yml). Links to the network are checked for their form alone: nothing is fetched.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))  # the package that this file lies beside

import api_pages
import command_pages
from navigation import LINK, targets

REPOSITORY = Path(__file__).parents[2]
COLUMNS = 100
NAMED = re.compile(
    r"(?<![\w/.<{}])((?:benchmarks|configs|data|docs|tests|tools|wsss)/[\w./-]+\.(?:py|yaml|md|png))\b"
)
"""File of the repository that a text names."""


def written() -> dict[str, str]:
    """Text of each page that is written by hand, by its path below docs/."""
    docs = REPOSITORY / "docs"
    return {
        path.relative_to(docs).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(docs.rglob("*.md"))
    }


def orphans(pages: Mapping[str, str]) -> Iterator[str]:
    """Find pages that no other page links to; the navigation does not count.

    Args:
        pages: Markdown by path below docs/, the generated pages too.
    """
    linked = {
        target for page, text in pages.items() for target in targets(page, text) if target != page
    }
    for page in pages:
        if page not in linked and page != "index.md":
            index = f"{Path(page).parent.as_posix()}/index.md".removeprefix("./")
            yield f"docs/{page}: no page links to it; {index} could"


def long_lines(name: str, text: str) -> Iterator[str]:
    """Find lines of more than 100 characters, but for a single word, such as an address."""
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > COLUMNS and " " in line.strip():
            yield f"{name}:{number}: {len(line)} characters, expected {COLUMNS} at most"


def lost_files(name: str, text: str, tracked: frozenset[str]) -> Iterator[str]:
    """Find files of the repository that a text names and that are not there."""
    for file in NAMED.findall(text):
        if file not in tracked:
            yield f"{name}: names {file}, which is not in the repository"


def lost_pages(name: str, text: str, tracked: frozenset[str]) -> Iterator[str]:
    """Find pages that code or a configuration names and that are not there."""
    for file in NAMED.findall(text):
        if file.startswith("docs/") and file.endswith(".md") and file not in tracked:
            yield f"{name}: names {file}, which is not there"


def lost_links(name: str, text: str) -> Iterator[str]:
    """Find relative links of a file beside docs/ that lead nowhere."""
    for url in LINK.findall(text):
        path = (REPOSITORY / name).parent / url.partition("#")[0]
        if "://" not in url and not url.startswith("#") and not path.exists():
            yield f"{name}: links to {url}, which is not there"


def without_reference(site: Path) -> Iterator[str]:
    """Find public names that no page of the site documents.

    Args:
        site: The built site.
    """
    pages = "".join(page.read_text("utf-8") for page in (site / api_pages.FOLDER).glob("*.html"))
    anchors = set(re.findall(r'id="([\w.]+)"', pages))
    for name, home in api_pages.public_names().items():
        if home not in anchors:
            yield f"{name}: no reference ({home} is on no page of {api_pages.FOLDER})"


def without_docstring() -> Iterator[str]:
    """Find public names that say nothing of themselves."""
    import griffe

    package = griffe.load("wsss", search_paths=[REPOSITORY])
    for name, home in api_pages.public_names().items():
        if package[home.removeprefix("wsss.")].docstring is None:
            yield f"{name}: no docstring"


def tracked_files() -> frozenset[str]:
    """List the files of the repository, new ones included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(line for line in listed.stdout.splitlines() if (REPOSITORY / line).exists())


def faults(site: Path) -> Iterator[str]:
    """Find all faults of the documentation and of its built site."""
    pages = written()
    tracked = tracked_files()
    yield from orphans({**pages, **command_pages.pages(), **api_pages.pages()})
    beside = sorted(file for file in tracked if file.endswith(".md") and file[:5] != "docs/")
    for name in [*(f"docs/{page}" for page in pages), *beside]:
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        yield from long_lines(name, text)
        yield from lost_files(name, text, tracked)
        if name in beside:
            yield from lost_links(name, text)
    for name in sorted(tracked):
        # the tests of this checker name pages that are not there
        if name.endswith((".py", ".yaml")) and not name.startswith("tests/docs/"):
            yield from lost_pages(name, (REPOSITORY / name).read_text("utf-8"), tracked)
    yield from without_reference(site)
    yield from without_docstring()


if __name__ == "__main__":
    found = list(faults(Path(sys.argv[1])))
    print("\n".join(found) or "documentation: no faults")
    sys.exit(bool(found))
