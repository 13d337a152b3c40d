"""A hub on this machine: the part of the Hugging Face hub's HTTP interface that is asked for.

A real server on 127.0.0.1 that a process of its own asks through huggingface_hub, as it would ask
the public one: names, revisions and private repositories for downloads; and for uploads the
creation of a repository, the check of a card's front matter (of its licence alone), the question
how a file is sent, and a commit whose files are in it. What
the public hub does besides, such as storage of large files apart from the commit (LFS, Xet), is not
here: the server says of each file that it belongs into the commit.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from wsss.data.hub import download

TOKEN = "hf_token_of_the_test"


@dataclass
class Repository:
    """A repository: the files of each revision; the last is that of main."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: bool = False

    def add(self, files: dict[str, bytes]) -> str:
        """A commit that adds files; its name."""
        before = next(reversed(self.commits.values()), {})
        content = before | files
        names = json.dumps([[k, hashlib.sha256(v).hexdigest()] for k, v in content.items()])
        commit = hashlib.sha1(names.encode()).hexdigest()
        self.commits[commit] = content
        return commit

    def at(self, revision: str) -> str | None:
        if revision == "main":
            return next(reversed(self.commits), None)
        return revision if revision in self.commits else None


class Hub:
    """The server's content, and what it was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[str] = []
        self.url = ""

    def repository(self, name: str, **given) -> Repository:
        return self.repositories.setdefault(name, Repository(**given))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine with a cache of its own."""
    with local_hub() as found:
        # what HF_ENDPOINT says when the package is imported
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        download.cache_clear()
        yield found
        download.cache_clear()


@contextmanager
def local_hub() -> Iterator[Hub]:
    """Serve a hub while the block runs."""
    content = Hub()

    handler = type("Handler", (_Handler,), {"content": content})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    content.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield content
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    content: Hub

    def log_message(self, *given) -> None:
        pass

    def do_HEAD(self) -> None:
        self._file()

    def do_GET(self) -> None:
        self._file()

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.content.asked.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/validate-yaml":
            # the public hub knows which licences there are, among others
            wrong = "license: nonsense" in json.loads(body)["content"]
            errors = [{"message": '"license" must be one of [...]'}] if wrong else []
            self._answer(400 if wrong else 200, {"errors": errors, "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            told = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for one in files]  # fmt: skip
            self._answer(200, {"files": told})
        elif path.endswith("/commit/main"):
            self._commit(path, [json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, {"error": f"not here: {path}"})

    def _create(self, asked: dict) -> None:
        name = f"{asked.get('organization') or 'user'}/{asked['name']}"
        there = name in self.content.repositories
        private = asked.get("private") is True or asked.get("visibility") == "private"
        self.content.repository(name, private=private)
        self._answer(409 if there else 200, {"url": f"{self.content.url}/{name}", "id": name})

    def _commit(self, path: str, lines: list[dict]) -> None:
        name = path.removeprefix("/api/models/").removesuffix("/commit/main")
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        commit = self.content.repositories[name].add(files)
        url = f"{self.content.url}/{name}/commit/{commit}"
        self._answer(200, {"commitOid": commit, "commitUrl": url, "pullRequestUrl": None})

    def _file(self) -> None:
        """Answer for /user/name/resolve/revision/file, and for what a repository is."""
        path = urlsplit(self.path).path
        self.content.asked.append(f"{self.command} {path}")
        words = [unquote(word) for word in path.strip("/").split("/")]
        if words[:2] == ["api", "models"]:
            name, rest = "/".join(words[2:4]), words[4:]
        else:
            name, rest = "/".join(words[:2]), words[2:]
        found = self.content.repositories.get(name)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if found is None or (found.private and not known):
            # the public hub does not tell one from the other
            self._refuse(401, "RepoNotFound")
            return
        if found.gated:
            self._refuse(403, "GatedRepo")
            return
        if rest[:1] != ["resolve"]:
            self._answer(200, {"id": name, "sha": found.at("main"), "private": found.private})
            return
        commit = found.at(rest[1])
        if commit is None:
            self._refuse(404, "RevisionNotFound")
            return
        content = found.commits[commit].get("/".join(rest[2:]))
        if content is None:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._answer(status, {"error": code}, {"X-Error-Code": code, **(headers or {})})

    def _answer(self, status: int, told: dict, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
