"""A local stand-in for huggingface.co and its client: listings, licences, redirects, ranges, failures."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit

BIG = random.Random(3).randbytes(2_000_000)  # noqa: S311 - only has to be the same each time
BRANCHES = ("main", "diffusers/general", "diffusers/controlnet/general/edge")
MODEL = {
    "model_index.json": b"{}",
    "tokenizer/tokenizer_config.json": b"{}",
    "scheduler/scheduler_config.json": b"{}",
    **{f"{part}/config.json": b"{}" for part in ("text_encoder", "transformer", "vae")},
    **{f"{part}/model.safetensors": part.encode() * 100 for part in ("text_encoder", "vae")},
    "transformer/model.safetensors": BIG,
    "config.json": b"{}",
    "controlnet.safetensors": b"controlnet" * 100,
    "old.ckpt": b"a pickle" * 100,
}
"""Small model files."""


@dataclass
class Repository:
    """One repository with one commit."""

    files: dict[str, bytes]
    commit: str
    branches: tuple[str, ...] = ("main",)
    earlier: tuple[str, ...] = ()
    """Earlier commits of the branches; they have the same files."""
    gated: bool = False
    hidden: bool = False
    """Whether the hub hides it from clients without a token."""
    claims: dict[str, int] = field(default_factory=dict)
    """False sizes for the listing."""
    large: int = 64
    """Files of at least so many bytes are in LFS."""

    @property
    def revisions(self) -> tuple[str, ...]:
        return (*self.branches, self.commit, *self.earlier)

    def commit_of(self, revision: str) -> str:
        return revision if revision in self.earlier else self.commit

    def digest(self, name: str) -> str:
        data = self.files[name]
        if len(data) >= self.large:
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

    def entry(self, name: str) -> dict[str, object]:
        size = self.claims.get(name, len(self.files[name]))
        entry = {"type": "file", "path": name, "size": size, "oid": "0" * 40}
        if size >= self.large:
            return entry | {"lfs": {"oid": self.digest(name), "size": size, "pointerSize": 134}}
        return entry | {"oid": self.digest(name)}


@dataclass
class Accident:
    """A failure while a file's bytes are sent."""

    cut_after: int | None = None
    """Bytes after which the connection is closed."""
    times: int = 1
    """How often."""
    swapped: bytes | None = None
    """Bytes that are sent instead."""
    stall_after: int | None = None
    """Bytes after which nothing more is sent until the hub ends."""
    no_ranges: bool = False
    """Whether ranges are ignored."""
    status: int = 0


class Hub:
    """The hub; it runs as a context manager."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.accidents: dict[str, Accident] = {}
        """By file name."""
        self.over = threading.Event()
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and Range of every request."""
        self.token = "hf_right"  # noqa: S105 - opens nothing else
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(self, name: str, files: dict[str, bytes], **about: object) -> Repository:
        commit = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
        found = Repository(files, **{"commit": commit, **about})
        self.repositories[name] = found
        return found

    def environment(self, home: object) -> dict[str, str]:
        """The environment of a process that uses this hub as huggingface.co."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": ""}

    def downloads(self) -> list[tuple[str, str]]:
        """File and Range of every download."""
        return [
            (path.split("/", 5)[5], range_)
            for method, path, range_ in self.requests
            if method == "GET" and "/resolve/" in path
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def furnish(hub: Hub) -> None:
    """Add the files that the diffusers engine needs."""
    hub.add("nvidia/Cosmos-Transfer2.5-2B", MODEL, branches=BRANCHES, gated=True)
    files = {"blocklist/words": b"bad", "face_blur_filter/Resnet50_Final.pth": BIG[:5000], "unused.pt": BIG}
    hub.add("nvidia/Cosmos-1.0-Guardrail", files, gated=True)
    hub.add("Qwen/Qwen3Guard-Gen-0.6B", {"config.json": b"{}", "model.safetensors": BIG[:9000]})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hang up, as some tests do."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, unquote(path), self.headers.get("Range", "")))
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            self.api("/".join(parts[2:4]), parts[4:])
        elif parts[0] == "cdn":
            self.file("/".join(parts[1:3]), "/".join(parts[4:]), parts[3])
        elif len(parts) > 4 and parts[2] == "resolve":
            self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self.say(404)

    def api(self, name: str, rest: list[str]) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None or repository.hidden:
            self.say(401, {"X-Error-Code": "RepoNotFound"})
        elif rest == ["auth-check"]:
            self.say(200) if self.allowed(repository) else self.gated()
        elif rest[0] == "revision" and rest[1] in repository.revisions:
            self.say(200, body={"id": name, "sha": repository.commit, "siblings": []})
        elif rest[0] == "tree" and rest[1] in repository.revisions:
            self.say(200, body=[repository.entry(file) for file in sorted(repository.files)])
        else:
            self.say(404, {"X-Error-Code": "RevisionNotFound"})

    def resolve(self, name: str, revision: str, file: str) -> None:
        repository = self.hub.repositories[name]
        if not self.allowed(repository):
            self.gated()
        elif revision not in repository.revisions:
            self.say(404, {"X-Error-Code": "RevisionNotFound"})
        elif file not in repository.files:
            self.say(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit})
        elif len(repository.files[file]) < repository.large:
            self.file(name, file, revision)
        else:
            headers = {
                "X-Repo-Commit": repository.commit,
                "X-Linked-Etag": f'"{repository.digest(file)}"',
                "X-Linked-Size": str(len(repository.files[file])),
                "Location": f"{self.hub.url}/cdn/{name}/{repository.commit_of(revision)}/{file}",
            }
            self.say(302, headers)

    def file(self, name: str, file: str, revision: str) -> None:
        repository = self.hub.repositories[name]
        accident = self.hub.accidents.get(file, Accident())
        if accident.status and accident.times > 0:
            accident.times -= 1
            self.say(accident.status)
            return
        data = repository.files[file]
        if accident.swapped is not None:
            data = accident.swapped
        start = 0
        asked = self.headers.get("Range", "")
        if asked and not accident.no_ranges:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if asked and not accident.no_ranges else 200)
        self.send_header("ETag", f'"{repository.digest(file)}"')
        self.send_header("X-Repo-Commit", repository.commit_of(revision))
        self.send_header("Content-Length", str(len(data) - start))
        if self.command == "GET" and accident.cut_after is not None and accident.times > 0:
            accident.times -= 1
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data[start : start + accident.cut_after])
            self.close_connection = True
            return
        self.end_headers()
        if self.command == "GET" and accident.stall_after is not None:
            self.wfile.write(data[start : start + accident.stall_after])
            self.hub.over.wait()
            self.close_connection = True
        elif self.command == "GET":
            self.wfile.write(data[start:])

    def allowed(self, repository: Repository) -> bool:
        return not repository.gated or self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def gated(self) -> None:
        self.say(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."})

    def say(self, status: int, headers: dict[str, str] | None = None, body: object = None) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for header, value in (headers or {}).items():
            self.send_header(header, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text)
