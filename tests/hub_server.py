"""A local Hub over HTTP: what huggingface_hub, datasets, transformers and evaluate push to and load from.

Repositories live in memory as git has them: blobs, commits with a parent, branches, tags, pull requests. What the
Hub enforces is enforced here: tokens and roles, private repositories, one commit on top of a named parent (412
otherwise), LFS by `.gitattributes`, metadata of cards. Faults are switched on from the test that holds the server:

    with LocalHub() as hub:
        hub.fault_rate = 0.2                       # every fifth request: 503, dropped, or done but never answered
        hub.fail(r"/commit/", "lost")              # the next commit is applied and its reply lost
        run_client(hub, "print(__import__('huggingface_hub').whoami()['name'])")

`python tests/hub_server.py` serves one to play with.
"""

import base64
import fnmatch
import hashlib
import itertools
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}
URL_PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
LFS_SIZE = 10 * 1024 * 1024  # files above are LFS whatever their name
GIT_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.arrow", "*.bin", "*.npy", "*.npz", "*.onnx", "*.parquet", "*.pt", "*.safetensors", "*.zip")
)


@dataclass
class Account:
    """Who a token belongs to: `role` of the token (`write` or `read`), role in each organisation."""

    name: str
    role: str = "write"
    orgs: dict[str, str] = field(default_factory=dict)
    permissions: list[str] | None = None  # a fine-grained token's rights on its owner's namespace

    def may_write(self, namespace: str) -> bool:
        if self.permissions is not None:
            return namespace == self.name and "repo.write" in self.permissions
        if self.role != "write":
            return False
        return namespace == self.name or self.orgs.get(namespace) in ("admin", "write", "contributor")


@dataclass(frozen=True)
class File:
    """One file of a tree: git blob id, size in bytes, sha256 where it is LFS."""

    oid: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    files: dict[str, File]
    title: str
    author: str
    date: str


@dataclass
class Repo:
    kind: str
    id: str
    private: bool = False
    sdk: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    requests: dict[int, dict] = field(default_factory=dict)  # pull requests: number -> {title, author, head}

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch, tag, pull request or (abbreviated) commit id."""
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = self.branches.get(revision) or self.tags.get(revision)
        if match := re.fullmatch(r"refs/pr/(\d+)", revision):
            request = self.requests.get(int(match.group(1)))
            oid = request and request["head"]
        if oid is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            oid = next((full for full in self.commits if full.startswith(revision)), None)
        return self.commits.get(oid or "")

    def history(self, revision: str = "main") -> list[Commit]:
        """The commits of a revision, newest first."""
        commits, commit = [], self.find(revision)
        while commit is not None:
            commits.append(commit)
            commit = self.commits.get(commit.parent or "")
        return commits


class HubError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: object) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


class LocalHub:
    """The server and what it holds. Use it as a context manager; everything is gone when it ends."""

    def __init__(self, accounts: dict[str, Account] | None = None, port: int = 0, seed: int = 0) -> None:
        self.accounts = accounts or {
            "hf_writer": Account("writer", orgs={"lab": "write", "museum": "read"}),
            "hf_reader": Account("reader", role="read"),
        }
        self.repos: dict[tuple[str, str], Repo] = {}
        self.collections: dict[str, dict] = {}
        self.blobs: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}  # LFS, by sha256
        self.log: list[tuple[str, str, int | str]] = []  # method, path, status or fault
        self.times: list[float] = []  # of each entry of the log, in seconds
        self.delay = 0.0  # seconds before every answer
        self.fault_rate = 0.0
        self.fault_kinds = ("503", "drop", "lost")
        self.page_size = 1000
        self.lock = threading.RLock()
        self._random = random.Random(seed)
        self._scripted: list[list] = []  # [pattern, kind, times left]
        self._counter = itertools.count()
        self.held = threading.Event()  # set when a request hangs
        self._release = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> "LocalHub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()

    # What a test asks for

    def fail(self, pattern: str, kind: str, times: int = 1) -> None:
        """The next `times` requests whose "METHOD path" matches end in `kind`.

        Kinds: a status ("503", "409"; "429 2" asks for a pause of 2 seconds in `Retry-After`), "drop" (the connection
        closes, nothing done), "lost" (done, the connection closes before the reply), "garbled" (a gateway's HTML
        instead of JSON), "hang" (nothing until `release`, then dropped), "late" (nothing until `release`, then done).
        """
        with self.lock:
            self._scripted.append([re.compile(pattern), kind, times])

    def release(self) -> None:
        """Let hanging requests go (they are dropped)."""
        self._release.set()

    def repo(self, kind: str, repo_id: str) -> Repo:
        return self.repos[kind, repo_id]

    def read(self, kind: str, repo_id: str, path: str, revision: str = "main") -> bytes:
        """The content of one file."""
        return self.content(self.repo(kind, repo_id).find(revision).files[path])

    def requested(self, pattern: str) -> list[tuple[str, str, int | str]]:
        """The logged requests whose "METHOD path" matches."""
        return [entry for entry in self.log if re.search(pattern, f"{entry[0]} {entry[1]}")]

    # State

    def record(self, method: str, path: str, status: int | str) -> None:
        with self.lock:
            self.log.append((method, path, status))
            self.times.append(time.monotonic())

    def content(self, file: File) -> bytes:
        return self.objects[file.sha256] if file.sha256 else self.blobs[file.oid]

    def store(self, content: bytes) -> File:
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.blobs[oid] = content
        return File(oid, len(content))

    def store_lfs(self, sha256: str) -> File:
        size = len(self.objects[sha256])
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return File(hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest(), size, sha256)

    def create(self, kind: str, repo_id: str, private: bool = False, sdk: str | None = None) -> Repo:
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private, sdk)
        files = {".gitattributes": self.store(GIT_ATTRIBUTES.encode())}
        repo.branches["main"] = self.commit(repo, None, files, "initial commit", "system").oid
        return repo

    def commit(self, repo: Repo, parent: str | None, files: dict[str, File], title: str, author: str) -> Commit:
        """Record a commit (no branch is moved)."""
        date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        oid = hashlib.sha1(f"{next(self._counter)} {repo.id} {parent} {title}".encode()).hexdigest()
        repo.commits[oid] = Commit(oid, parent, files, title, author, date)
        return repo.commits[oid]

    def fault(self, request: str) -> str | None:
        """The fault this request ends in, if any."""
        with self.lock:
            for entry in self._scripted:
                pattern, kind, times = entry
                if times and pattern.search(request):
                    entry[2] -= 1
                    return kind
            if self._random.random() < self.fault_rate:
                return self._random.choice(self.fault_kinds)
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    hub: LocalHub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed leaves a broken pipe: not worth a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 (the names that http.server calls)

    def _serve(self) -> None:
        hub = self.server.hub
        body = self._read_body()
        url = urlsplit(self.path)
        request = f"{self.command} {url.path}"
        if hub.delay:
            time.sleep(hub.delay)
        fault = hub.fault(request)
        if fault in ("hang", "late"):
            hub.record(self.command, url.path, fault)
            hub.held.set()
            hub._release.wait()
            fault = "drop" if fault == "hang" else None
        if fault is None or fault == "lost":
            try:
                status, headers, content = _answer(hub, self, url.path, parse_qs(url.query), body)
            except HubError as error:
                headers = {"X-Error-Message": error.message, "Content-Type": "application/json"}
                if error.code:
                    headers["X-Error-Code"] = error.code
                status, content = error.status, json.dumps({"error": error.message, **error.body}).encode()
        elif fault == "garbled":
            status, headers, content = 503, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>"
        elif fault != "drop":
            message = "Service unavailable" if fault == "503" else "Another operation is in progress"
            code, _, seconds = fault.partition(" ")
            status, headers = int(code), {"Content-Type": "application/json"}
            if seconds:
                headers["Retry-After"] = seconds
            content = json.dumps({"error": message, "errors": [], "warnings": []}).encode()
        if fault in ("drop", "lost"):
            hub.record(self.command, url.path, fault)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        hub.record(self.command, url.path, status)
        headers.setdefault("Content-Length", str(len(content)))
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value.encode("ascii", "replace").decode().replace("\n", " "))
        self.end_headers_with(content if self.command != "HEAD" else b"")

    def end_headers_with(self, content: bytes) -> None:
        """Headers and content in one write: two small ones wait for each other's acknowledgement."""
        self._headers_buffer.append(b"\r\n")
        self.wfile.write(b"".join(self._headers_buffer) + content)
        self._headers_buffer = []

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Request:
    """What a route gets: the hub, the caller (None: anonymous), the query, the body and the headers."""

    hub: LocalHub
    account: Account | None
    method: str
    query: dict[str, list[str]]
    body: bytes
    headers: dict[str, str]

    def json(self) -> dict:
        return json.loads(self.body or b"{}")


def _answer(hub: LocalHub, handler: _Handler, path: str, query: dict, body: bytes) -> Answer:
    token = (handler.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
    headers = {name.lower(): value for name, value in handler.headers.items()}
    if path.startswith("/lfs/") and handler.command == "PUT":  # a signed address: no token
        token = ""
    if token and token not in hub.accounts:
        raise HubError(401, "Invalid credentials in Authorization header")
    request = Request(hub, hub.accounts.get(token), handler.command, query, body, headers)
    method = "GET" if handler.command == "HEAD" else handler.command
    with hub.lock:
        for verb, pattern, route in _ROUTES:
            if verb == method and (match := pattern.fullmatch(path)):
                return route(request, **{name: unquote(value or "") for name, value in match.groupdict().items()})
    raise HubError(404, f"no route for {method} {path}")


_ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []


def _route(verb: str, pattern: str) -> Callable:
    """`{types}`, `{id}` and `{rev}` stand for their part of an address."""
    parts = {"types": "models|datasets|spaces", "id": "[^/]+/[^/]+", "rev": "refs/pr/[0-9]+|[^/]+", "path": ".*"}
    for name, part in parts.items():
        pattern = pattern.replace("{" + name + "}", f"(?P<{name}>{part})")

    def register(route: Callable[..., Answer]) -> Callable[..., Answer]:
        _ROUTES.append((verb, re.compile(pattern), route))
        return route

    return register


def _reply(value: object, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def _repo(request: Request, kind: str, repo_id: str, write: bool = False) -> Repo:
    """The repository, if the caller may see it (or write to it)."""
    repo = request.hub.repos.get((kind, repo_id))
    namespace = repo_id.split("/")[0]
    account = request.account
    member = account and (namespace == account.name or namespace in account.orgs)
    if repo is None or (repo.private and not member):
        raise HubError(404 if account else 401, "Repository not found", "RepoNotFound")
    if write:
        _may_write(request, namespace)
    return repo


def _may_write(request: Request, namespace: str) -> None:
    if request.account is None:
        raise HubError(401, "Invalid username or password.")
    if not request.account.may_write(namespace):
        raise HubError(403, f"You don't have the rights to write in the namespace {namespace}")


def _commit(repo: Repo, revision: str) -> Commit:
    commit = repo.find(revision)
    if commit is None:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


# Accounts, creation, settings


@_route("GET", "/api/whoami-v2")
def _whoami(request: Request) -> Answer:
    account = request.account
    if account is None:
        raise HubError(401, "Invalid username or password.")
    token: dict = {"displayName": "test", "role": account.role}
    if account.permissions is not None:
        scope = {"entity": {"type": "user", "name": account.name}, "permissions": account.permissions}
        token = {"displayName": "test", "role": "fineGrained", "fineGrained": {"global": [], "scoped": [scope]}}
    orgs = [{"type": "org", "name": name, "roleInOrg": role} for name, role in account.orgs.items()]
    return _reply(
        {"type": "user", "name": account.name, "orgs": orgs, "auth": {"type": "access_token", "accessToken": token}}
    )


@_route("POST", "/api/repos/create")
def _create(request: Request) -> Answer:
    body = request.json()
    kind = body.get("type") or "model"
    namespace = body.get("organization") or (request.account and request.account.name) or ""
    _may_write(request, namespace)
    repo_id = f"{namespace}/{body['name']}"
    if kind == "space" and body.get("sdk") not in ("gradio", "docker", "static", "streamlit"):
        raise HubError(400, "Invalid sdk")
    url = f"{request.hub.url}/{URL_PREFIX[kind]}{repo_id}"
    if (kind, repo_id) in request.hub.repos:
        raise HubError(409, f"You already created this {kind} repo", url=url)
    private = body.get("private") or body.get("visibility") == "private"
    request.hub.create(kind, repo_id, private=bool(private), sdk=body.get("sdk"))
    return _reply({"url": url, "name": repo_id, "id": repo_id})


@_route("DELETE", "/api/repos/delete")
def _delete(request: Request) -> Answer:
    body = request.json()
    repo_id = f"{body.get('organization') or request.account.name}/{body['name']}"
    repo = _repo(request, body.get("type") or "model", repo_id, write=True)
    del request.hub.repos[repo.kind, repo.id]
    return _reply({})


@_route("PUT", "/api/{types}/{id}/settings")
def _settings(request: Request, types: str, id: str) -> Answer:
    repo = _repo(request, TYPES[types], id, write=True)
    body = request.json()
    if "private" in body or "visibility" in body:
        repo.private = bool(body.get("private")) or body.get("visibility") == "private"
    return _reply({"private": repo.private})


# Reading


def _describe_file(path: str, file: File) -> dict:
    entry = {"type": "file", "path": path, "oid": file.oid, "size": file.size}
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 130}
    return entry


@_route("GET", "/api/{types}/{id}")
@_route("GET", "/api/{types}/{id}/revision/{rev}")
def _info(request: Request, types: str, id: str, rev: str = "main") -> Answer:
    repo = _repo(request, TYPES[types], id)
    commit = _commit(repo, rev)
    blobs = "blobs" in request.query
    siblings = []
    for path, file in sorted(commit.files.items()):
        sibling: dict = {"rfilename": path}
        if blobs:
            sibling |= {"size": file.size, "blobId": file.oid}
            if file.sha256:
                sibling["lfs"] = {"size": file.size, "sha256": file.sha256, "pointerSize": 130}
        siblings.append(sibling)
    info = {
        "_id": hashlib.md5(id.encode()).hexdigest()[:24],
        "id": id,
        "author": id.split("/")[0],
        "sha": commit.oid,
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "lastModified": commit.date,
        "createdAt": commit.date,
        "siblings": siblings,
        "usedStorage": sum(file.size for file in commit.files.values()),
    }
    if "README.md" in commit.files:
        text = request.hub.content(commit.files["README.md"]).decode(errors="replace")
        info["cardData"] = _front_matter(text)[0] or {}
        info["pipeline_tag"] = info["cardData"].get("pipeline_tag")
    if repo.sdk:
        info["sdk"] = repo.sdk
    return _reply(info)


@_route("GET", "/api/{types}")
def _list(request: Request, types: str) -> Answer:
    names = [repo.id for repo in request.hub.repos.values() if repo.kind == TYPES[types] and not repo.private]
    return _reply([{"_id": name, "id": name, "tags": [], "private": False} for name in names])


@_route("GET", "/api/{types}/{id}/tree/{rev}(?:/{path})?")
def _tree(request: Request, types: str, id: str, rev: str, path: str = "") -> Answer:
    repo = _repo(request, TYPES[types], id)
    commit = _commit(repo, rev)
    prefix = path.strip("/") + "/" if path.strip("/") else ""
    recursive = request.query.get("recursive", ["false"])[0].lower() in ("1", "true")
    entries: dict[str, dict] = {}
    for name, file in sorted(commit.files.items()):
        if not name.startswith(prefix):
            continue
        parts = name[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            folder = prefix + "/".join(parts[:depth])
            if recursive or depth == 1:
                oid = hashlib.sha1(folder.encode()).hexdigest()
                entries.setdefault(folder, {"type": "directory", "path": folder, "oid": oid, "size": 0})
        if recursive or len(parts) == 1:
            entries[name] = _describe_file(name, file)
            if request.query.get("expand", ["false"])[0].lower() in ("1", "true"):
                entries[name]["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date}
    if prefix and not entries:
        raise HubError(404, f"{path} does not exist on {rev}", "EntryNotFound")
    start = int(request.query.get("cursor", ["0"])[0])
    page = list(entries.values())[start : start + request.hub.page_size]
    headers = {}
    if start + len(page) < len(entries):
        query = f"recursive={recursive}&cursor={start + len(page)}"
        rest = f"/{path}" if path else ""
        headers["Link"] = f'<{request.hub.url}/api/{types}/{id}/tree/{commit.oid}{rest}?{query}>; rel="next"'
    return _reply(page, **headers)


@_route("POST", "/api/{types}/{id}/paths-info/{rev}")
def _paths_info(request: Request, types: str, id: str, rev: str) -> Answer:
    commit = _commit(_repo(request, TYPES[types], id), rev)
    if request.headers.get("content-type", "").startswith("application/json"):
        paths = request.json()["paths"]
    else:
        paths = parse_qs(request.body.decode())["paths"]
    entries = []
    for path in paths:
        if path in commit.files:
            entries.append(_describe_file(path, commit.files[path]))
        elif any(name.startswith(path.rstrip("/") + "/") for name in commit.files):
            entries.append({"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest()})
    return _reply(entries)


@_route("GET", "/api/{types}/{id}/refs")
def _refs(request: Request, types: str, id: str) -> Answer:
    repo = _repo(request, TYPES[types], id)

    def describe(kind: str, refs: dict[str, str]) -> list[dict]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in refs.items()]

    requests = {str(number): value["head"] for number, value in repo.requests.items()}
    return _reply(
        {
            "branches": describe("heads", repo.branches),
            "converts": [],
            "tags": describe("tags", repo.tags),
            "pullRequests": describe("pr", requests),
        }
    )


@_route("GET", "/api/{types}/{id}/commits/{rev}")
def _commits(request: Request, types: str, id: str, rev: str) -> Answer:
    repo = _repo(request, TYPES[types], id)
    _commit(repo, rev)
    return _reply(
        [
            {"id": c.oid, "title": c.title, "message": "", "date": c.date, "authors": [{"user": c.author}]}
            for c in repo.history(rev)
        ]
    )


@_route("GET", "/(?:{types}/)?{id}/resolve/{rev}/{path}")
def _resolve(request: Request, types: str, id: str, rev: str, path: str) -> Answer:
    repo = _repo(request, TYPES[types or "models"], id)
    commit = _commit(repo, rev)
    file = commit.files.get(path)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    if file is None:
        raise HubError(404, "Entry not found", "EntryNotFound")
    headers["ETag"] = f'"{file.sha256 or file.oid}"'
    if file.sha256:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    content = request.hub.content(file)
    if match := re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "")):
        first, last = match.groups()
        start = int(first) if first else max(0, file.size - int(last))
        end = min(int(last) if first and last else file.size - 1, file.size - 1)
        if start >= file.size:
            raise HubError(416, "Range not satisfiable")
        headers["Content-Range"] = f"bytes {start}-{end}/{file.size}"
        return 206, headers, content[start : end + 1]
    if request.method == "HEAD":
        headers["Content-Length"] = str(file.size)
    return 200, headers, content


# Writing


@_route("POST", "/api/validate-yaml")
def _validate(request: Request) -> Answer:
    body = request.json()
    errors, warnings = check_card(body["content"], body.get("repoType", "model"))
    reply = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    return _reply(reply, 400 if errors else 200)


def _is_lfs(request: Request, repo: Repo, commit: Commit, path: str, size: int) -> bool:
    attributes = (
        request.hub.content(commit.files[".gitattributes"]).decode() if ".gitattributes" in commit.files else ""
    )
    patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
    return size > LFS_SIZE or any(fnmatch.fnmatch(path.split("/")[-1], pattern) for pattern in patterns)


@_route("POST", "/api/{types}/{id}/preupload/{rev}")
def _preupload(request: Request, types: str, id: str, rev: str) -> Answer:
    repo = _repo(request, TYPES[types], id, write="create_pr" not in request.query)
    commit = _commit(repo, rev)
    files = []
    for file in request.json()["files"]:
        mode = "lfs" if _is_lfs(request, repo, commit, file["path"], file["size"]) else "regular"
        known = commit.files.get(file["path"])
        oid = known and (known.sha256 or known.oid)
        files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return _reply({"files": files, "commitOid": commit.oid})


@_route("POST", r"/(?:{types}/)?{id}\.git/info/lfs/objects/batch")
def _batch(request: Request, types: str, id: str) -> Answer:
    _repo(request, TYPES[types or "models"], id)
    objects = []
    for wanted in request.json()["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"]}
        if wanted["oid"] not in request.hub.objects:
            href = f"{request.hub.url}/lfs/{wanted['oid']}"
            entry["actions"] = {"upload": {"href": href}, "verify": {"href": f"{request.hub.url}/lfs-verify"}}
        objects.append(entry)
    return _reply({"transfer": "basic", "objects": objects})


@_route("PUT", "/lfs/(?P<sha256>[0-9a-f]{64})")
def _put_object(request: Request, sha256: str) -> Answer:
    if hashlib.sha256(request.body).hexdigest() != sha256:
        raise HubError(400, "content does not match its sha256")
    request.hub.objects[sha256] = request.body
    return _reply({})


@_route("POST", "/lfs-verify")
def _verify(request: Request) -> Answer:
    body = request.json()
    if len(request.hub.objects.get(body["oid"], b"")) != body["size"]:
        raise HubError(404, "object missing or of another size")
    return _reply({})


@_route("POST", "/api/{types}/{id}/commit/{rev}")
def _post_commit(request: Request, types: str, id: str, rev: str) -> Answer:
    hub = request.hub
    open_request = "create_pr" in request.query
    repo = _repo(request, TYPES[types], id, write=not open_request)
    base = _commit(repo, rev)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = lines[0]["value"]
    parent = header.get("parentCommit")
    if parent and not open_request and not base.oid.startswith(parent):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(base.files)
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = hub.store(base64.b64decode(value["content"]))
        elif line["key"] == "lfsFile":
            if value["oid"] not in hub.objects:
                raise HubError(400, f"LFS object {value['oid']} was never uploaded")
            files[value["path"]] = hub.store_lfs(value["oid"])
        elif line["key"] == "deletedFile":
            if value["path"] not in files:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
            del files[value["path"]]
        elif line["key"] == "deletedFolder":
            files = {name: file for name, file in files.items() if not name.startswith(value["path"].rstrip("/") + "/")}
    if "README.md" in files and files["README.md"] != base.files.get("README.md"):
        errors, _ = check_card(hub.content(files["README.md"]).decode(), repo.kind)
        if errors:
            raise HubError(400, "Invalid metadata in README.md: " + "; ".join(errors))
    commit = hub.commit(repo, base.oid, files, header["summary"], request.account.name)
    url = f"{hub.url}/{URL_PREFIX[repo.kind]}{id}"
    reply: dict = {"success": True, "commitOid": commit.oid, "commitUrl": f"{url}/commit/{commit.oid}"}
    if open_request:
        number = len(repo.requests) + 1
        repo.requests[number] = {"title": header["summary"], "author": request.account.name, "head": commit.oid}
        reply["pullRequestUrl"] = f"{url}/discussions/{number}"
    elif rev not in repo.branches:
        raise HubError(400, f"{rev} is not a branch")
    else:
        repo.branches[rev] = commit.oid
    return _reply(reply)


@_route("POST", "/api/{types}/{id}/branch/{rev}")
def _branch(request: Request, types: str, id: str, rev: str) -> Answer:
    repo = _repo(request, TYPES[types], id, write=True)
    if rev in repo.branches:
        raise HubError(409, "Reference already exists")
    repo.branches[rev] = _commit(repo, request.json().get("startingPoint") or "main").oid
    return _reply({})


@_route("DELETE", "/api/{types}/{id}/branch/{rev}")
def _delete_branch(request: Request, types: str, id: str, rev: str) -> Answer:
    _repo(request, TYPES[types], id, write=True).branches.pop(rev, None)
    return _reply({})


@_route("POST", "/api/{types}/{id}/tag/{rev}")
def _tag(request: Request, types: str, id: str, rev: str) -> Answer:
    repo = _repo(request, TYPES[types], id, write=True)
    tag = request.json()["tag"]
    if tag in repo.tags:
        raise HubError(409, "Tag reference already exists")
    repo.tags[tag] = _commit(repo, rev).oid
    return _reply({})


@_route("GET", "/api/{types}/{id}/discussions")
def _discussions(request: Request, types: str, id: str) -> Answer:
    repo = _repo(request, TYPES[types], id)
    found = [
        {
            "num": number,
            "title": value["title"],
            "author": {"name": value["author"]},
            "createdAt": "2025-01-01T00:00:00.000Z",
            "status": "open",
            "repo": {"name": id, "type": repo.kind},
            "isPullRequest": True,
        }
        for number, value in repo.requests.items()
    ]
    return _reply({"count": len(found), "start": 0, "discussions": found})


# Collections


def _describe_collection(collection: dict) -> dict:
    fixed = {"lastUpdated": "2025-01-01T00:00:00.000Z", "position": 0, "private": False, "theme": "blue", "upvotes": 0}
    return collection | fixed


@_route("POST", "/api/collections")
def _create_collection(request: Request) -> Answer:
    body = request.json()
    _may_write(request, body["namespace"])
    slug = body["namespace"] + "/" + re.sub(r"\W+", "-", body["title"].lower())
    slug += "-" + hashlib.md5(slug.encode()).hexdigest()[:24]
    if slug in request.hub.collections:
        raise HubError(409, "Collection already exists", slug=slug)
    request.hub.collections[slug] = {"slug": slug, "title": body["title"], "owner": body["namespace"], "items": []}
    return _reply(_describe_collection(request.hub.collections[slug]))


@_route("GET", "/api/collections/{id}")
def _collection(request: Request, id: str) -> Answer:
    if id not in request.hub.collections:
        raise HubError(404, "Collection not found")
    return _reply(_describe_collection(request.hub.collections[id]))


@_route("POST", "/api/collections/{id}/items")
def _add_item(request: Request, id: str) -> Answer:
    collection = request.hub.collections[id]
    item = request.json()["item"]
    _repo(request, item["type"], item["id"])
    if any((known["id"], known["type"]) == (item["id"], item["type"]) for known in collection["items"]):
        raise HubError(409, "Item already in collection")
    position = len(collection["items"])
    collection["items"].append(item | {"_id": f"{position:024x}", "position": position})
    return _reply(_describe_collection(collection))


# Cards: what the Hub checks of their metadata

LICENCES = {"mit", "apache-2.0", "cc-by-4.0", "cc-by-nc-4.0", "bsd-3-clause", "gpl-3.0", "other", "unknown"}
PIPELINE_TAGS = {"token-classification", "text-classification", "feature-extraction", "image-text-to-text", "other"}
TASKS = {
    "token-classification",
    "image-text-to-text",
    "other",
    "text-retrieval",
    "image-to-text",
    "visual-question-answering",
}
LISTS = ("language", "tags", "datasets", "metrics", "base_model", "task_categories", "size_categories", "models")


def _front_matter(text: str) -> tuple[dict | None, str | None]:
    match = re.match(r"\ufeff?\s*---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    if match is None:
        return None, None
    try:
        data = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        return None, f"Invalid YAML: {error}"
    return (data, None) if isinstance(data, dict) else (None, "metadata is not a mapping")


def check_card(text: str, kind: str) -> tuple[list[str], list[str]]:
    """(errors, warnings) of a card's metadata, as the Hub's `validate-yaml` gives them."""
    data, problem = _front_matter(text)
    if problem:
        return [problem], []
    if data is None:
        return [], ["empty or missing yaml metadata in repo card"]
    errors: list[str] = []

    def need(condition: object, message: str) -> None:
        if not condition:
            errors.append(message)

    for name in LISTS:
        values = data.get(name)
        values = [values] if isinstance(values, str) else values
        need(values is None or isinstance(values, list), f'"{name}" must be a string or an array')
        need(all(isinstance(value, str) for value in values or []), f'"{name}" must hold strings')
    languages = data.get("language") or []
    for code in [languages] if isinstance(languages, str) else languages:
        need(re.fullmatch(r"[a-z]{2,3}|code|multilingual", str(code)), f'"language" {code!r} is no ISO 639 code')
    if "license" in data:
        need(data["license"] in LICENCES, f'"license" must be one of {sorted(LICENCES)}')
    if "pipeline_tag" in data:
        need(data["pipeline_tag"] in PIPELINE_TAGS, f'"pipeline_tag" {data["pipeline_tag"]!r} is unknown')
    for task in data.get("task_categories") or []:
        need(task in TASKS, f'"task_categories" {task!r} is unknown')
    for name in ("datasets", "base_model", "models"):
        values = data.get(name) or []
        for value in [values] if isinstance(values, str) else values:
            need(re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(value)), f'"{name}" {value!r} is no repository id')
    for entry in data.get("model-index") or []:
        need(isinstance(entry.get("name"), str), '"model-index" needs a name')
        for result in entry.get("results") or []:
            need(result.get("task", {}).get("type"), '"model-index" results need task.type')
            need(result.get("dataset", {}).get("type"), '"model-index" results need dataset.type')
            need(result.get("dataset", {}).get("name"), '"model-index" results need dataset.name')
            for metric in result.get("metrics") or [{}]:
                need("type" in metric and "value" in metric, '"model-index" metrics need type and value')
    for example in data.get("widget") or []:
        need(isinstance(example, dict) and isinstance(example.get("text"), str), '"widget" examples need a text')
    for config in data.get("configs") or []:
        need(isinstance(config.get("config_name"), str), '"configs" need a config_name')
        need("data_files" in config or "data_dir" in config, '"configs" need data_files')
    if kind == "space":
        need(data.get("sdk") in ("gradio", "docker", "static"), '"sdk" must be gradio, docker or static')
        for colour in ("colorFrom", "colorTo"):
            known = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray", None)
            need(data.get(colour) in known, f'"{colour}" is no colour of the Hub')
        if "short_description" in data:
            need(len(data["short_description"]) <= 60, '"short_description" is longer than 60 characters')
    return errors, []


# Clients in processes of their own

_GUARD = '''
"""Sockets that reach loopback alone; every other try is refused and written down."""
import os
import socket

_connect, _resolve = socket.socket.connect, socket.getaddrinfo


def _check(host):
    host = host.decode() if isinstance(host, bytes) else host
    if isinstance(host, str) and host not in ("127.0.0.1", "localhost", "::1", ""):
        if host == "datasets-server.127.0.0.1":  # this Hub's dataset viewer, which `datasets` asks and can do without
            raise OSError("no dataset viewer here")
        with open(os.environ["BLOCKED_LOG"], "a") as log:
            log.write(host + "\\n")
        raise OSError("sockets are blocked but for loopback: " + host)


def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _check(address[0])
    return _connect(self, address)


def getaddrinfo(host, *args, **kwargs):
    _check(host)
    return _resolve(host, *args, **kwargs)


socket.socket.connect, socket.getaddrinfo = connect, getaddrinfo
'''


def client_environment(hub: LocalHub, home: Path, token: str | None = "hf_writer") -> dict[str, str]:
    """The environment of a client: this Hub, a fresh cache under `home`, sockets blocked but for loopback."""
    guard = home / "guard"
    guard.mkdir(parents=True, exist_ok=True)
    (guard / "sitecustomize.py").write_text(_GUARD)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    environment |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
        "TERM": "dumb",
        "COLUMNS": "200",
        "BLOCKED_LOG": str(home / "blocked"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(guard), os.environ.get("PYTHONPATH")])),
    }
    if token:
        environment["HF_TOKEN"] = token
    return environment


def start_client(
    hub: LocalHub, command: list[str] | str, home: Path, token: str | None = "hf_writer", cwd: Path | None = None
) -> subprocess.Popen:
    """Start a client: a Python snippet, or the arguments of the command `tiktalkcoref`."""
    script = Path(sys.executable).with_name("tiktalkcoref")
    return subprocess.Popen(
        [sys.executable, *(["-c", command] if isinstance(command, str) else [script, *command])],
        env=client_environment(hub, home, token),
        cwd=cwd or home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_client(
    hub: LocalHub,
    command: list[str] | str,
    home: Path,
    token: str | None = "hf_writer",
    cwd: Path | None = None,
    timeout: float = 240,
    check: bool = True,
) -> subprocess.CompletedProcess:
    """Run a client to its end. With `check`, a failure or a try to reach another host raises with its output."""
    process = start_client(hub, command, home, token, cwd)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"no end after {timeout} s\n{output}\n{errors}") from None
    blocked = home / "blocked"
    if check and blocked.exists():
        raise AssertionError(f"other hosts were tried: {blocked.read_text().split()}\n{errors}")
    if check and process.returncode:
        raise AssertionError(f"exit code {process.returncode}\n{output}\n{errors}")
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


if __name__ == "__main__":
    with LocalHub(port=8123) as server:
        print(f"export HF_ENDPOINT={server.url} HF_TOKEN=hf_writer HF_HUB_DISABLE_XET=1   # namespaces: writer, lab")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")
