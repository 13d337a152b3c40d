"""The checker of the documentation finds what it looks for, and the pages are without faults."""

import importlib
import sys

import pytest

from tests.conftest import REPOSITORY

PAGES = {
    "index.md": "",
    "how/index.md": "[z](z.md) [other](../index.md) [a](a.md)",
    "how/a.md": "",
    "how/new.md": "",
    "how/z.md": "",
    "how/deep/x.md": "",
}


@pytest.fixture(scope="module", autouse=True)
def tools():
    sys.path.insert(0, str(REPOSITORY / "docs/tools"))
    yield
    sys.path.remove(str(REPOSITORY / "docs/tools"))


@pytest.fixture(scope="module")
def check():
    return importlib.import_module("check")


@pytest.fixture(scope="module")
def navigation():
    return importlib.import_module("navigation")


class TestOrphans:
    def test_a_page_that_no_page_links_to(self, check):
        pages = {"index.md": "[a](a.md)", "a.md": "[a](a.md) [b](how/b.md#part)", "how/b.md": ""}
        assert list(check.orphans(pages)) == []
        lonely = {**pages, "how/c.md": "[c](c.md)"}
        assert list(check.orphans(lonely)) == [
            "docs/how/c.md: no page links to it; how/index.md could"
        ]

    def test_a_picture_is_no_link_to_a_page(self, check):
        pages = {"index.md": "![a](a.md)", "a.md": ""}
        assert len(list(check.orphans(pages))) == 1


class TestNavigation:
    def test_a_folder_is_its_pages_in_the_order_of_its_index(self, navigation):
        nav = ["index.md", {"How": "how/"}]
        assert navigation.expanded(nav, PAGES) == [
            "index.md",
            {"How": ["how/index.md", "how/z.md", "how/a.md", "how/new.md"]},
        ]

    def test_a_folder_in_a_list(self, navigation):
        nav = [{"How": ["how/", {"Deep": "how/deep/"}]}]
        [how] = navigation.expanded(nav, PAGES)
        assert how["How"][0] == "how/index.md"
        assert how["How"][-1] == {"Deep": ["how/deep/x.md"]}


class TestLines:
    def test_long_ones(self, check):
        text = f"short\n{'a' * 120}\n{'a ' * 60}\n"
        assert list(check.long_lines("x.md", text)) == [
            "x.md:3: 120 characters, expected 100 at most"
        ]

    def test_files_that_are_not_there(self, check):
        text = "`wsss/there.py`, configs/gone.yaml and mine/wsss/data.yaml"
        found = check.lost_files("x.md", text, frozenset({"wsss/there.py"}))
        assert list(found) == ["x.md: names configs/gone.yaml, which is not in the repository"]

    def test_pages_that_code_names(self, check):
        text = "# see docs/there.md and docs/gone.md; wsss/gone.py is another matter"
        found = check.lost_pages("x.py", text, frozenset({"docs/there.md"}))
        assert list(found) == ["x.py: names docs/gone.md, which is not there"]

    def test_links_of_the_readme(self, check):
        text = "[a](docs/index.md) [b](https://x.org/y) [c](docs/gone.md#part)"
        assert list(check.lost_links("README.md", text)) == [
            "README.md: links to docs/gone.md#part, which is not there"
        ]


def test_the_build_is_strict():
    """With --quiet MkDocs counts no warnings, and passes whatever is broken."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    [build] = [line for line in makefile.splitlines() if "mkdocs build" in line]
    assert "--strict" in build.split()
    assert not {"--quiet", "-q"} & set(build.split())


class TestNames:
    def test_one_without_reference(self, check, tmp_path):
        api = importlib.import_module("api_pages")
        homes = api.public_names()
        (tmp_path / api.FOLDER).mkdir(parents=True)
        page = tmp_path / api.FOLDER / "data.html"
        text = "".join(f'<h2 id="{home}">' for home in homes.values())
        page.write_text(text)
        assert list(check.without_reference(tmp_path)) == []
        page.write_text(text.replace('id="wsss.data.config.DataConfig"', ""))
        assert [fault.split(":")[0] for fault in check.without_reference(tmp_path)] == [
            "wsss.DataConfig",
            "wsss.data.DataConfig",
        ]

    def test_each_package_with_public_names_is_a_room_or_an_inner_one(self, check):
        api = importlib.import_module("api_pages")
        found = {
            ".".join(path.parent.relative_to(REPOSITORY).parts)
            for path in (REPOSITORY / "wsss").rglob("__init__.py")
            if "\n__all__ = " in path.read_text(encoding="utf-8")
        }
        assert found == {"wsss", *api.ROOMS, *api.INNER}

    def test_a_constant_is_found_where_it_is_defined(self, check):
        names = importlib.import_module("api_pages").public_names()
        assert names["wsss.data.IGNORE"] == "wsss.ignore.IGNORE"
        assert names["wsss.attribute"] == "wsss.attribution.attribute.attribute"


@pytest.fixture(scope="module")
def pages():
    return importlib.import_module("command_pages").pages()


class TestPages:
    @pytest.mark.slow
    def test_every_command_and_its_keys_have_a_page(self, pages):
        commands = importlib.import_module("wsss.pipeline.commands").COMMANDS
        assert {f"reference/commands/{name}.md" for name in commands} <= set(pages)
        text = pages["reference/commands/choose_threshold.md"]
        assert "| `split` | `text` | **required** | List of the images that choose. |" in text
        assert "`crf.bilateral_srgb`" in text

    @pytest.mark.slow
    def test_text_in_angle_brackets_is_no_tag(self, pages):
        assert "&lt;id&gt;.npz" in pages["reference/commands/choose_threshold.md"]

    def test_what_is_written_has_no_fault_but_those_of_the_site(self, check):
        tracked = check.tracked_files()
        faults = []
        for name in (file for file in sorted(tracked) if file.endswith(".md")):
            text = (REPOSITORY / name).read_text(encoding="utf-8")
            faults += [*check.long_lines(name, text), *check.lost_files(name, text, tracked)]
        assert faults == []
