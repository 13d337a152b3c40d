"""Hook of MkDocs: adds the generated pages, and puts the pages of a folder into the navigation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # MkDocs loads this file alone
sys.path.insert(0, str(Path(__file__).parents[2]))

import api_pages
import command_pages
import navigation
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add one page for each command, room and refinement step; write the navigation out."""
    for path, text in {**command_pages.pages(), **api_pages.pages()}.items():
        files.append(File.generated(config, path, content=text))
    pages = {file.src_uri: file.content_string for file in files.documentation_pages()}
    config.nav = navigation.expanded(config.nav or [], pages)
    return files
