"""A Hub on loopback: a real HTTP server that speaks as much of the Hub's API as publishing and loading need.

    with Hub(tokens={"secret": "alice"}) as hub:
        hub.faults.append(Fault("PUT", "/lfs/", 500, times=2))
        ...  # clients run in processes of their own, with hub.environment(): the endpoint is read at import

Kept in memory: repositories with commits, tags, visibility and gating; blobs by SHA-256. Every request is in `hub.log`.
"""

import base64
import hashlib
import json
import re
import threading
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LFS_THRESHOLD = 1000
Tree = dict[str, str]


@dataclass
class Fault:
    """What goes wrong, on requests whose method and path match: a status, or "drop" for a cut connection.

    `after` matching requests pass unharmed first; then `times` of them fail.
    """

    method: str
    path: str
    kind: int | str
    times: int = 1
    after: int = 0


@dataclass
class Repo:
    """A dataset repository."""

    private: bool
    gated: str | bool = False
    owner: str = ""
    members: set[str] = field(default_factory=set)
    commits: list[tuple[str, Tree]] = field(default_factory=lambda: [("0" * 40, {})])
    tags: dict[str, str] = field(default_factory=dict)

    def tree(self, revision: str) -> tuple[str, Tree] | None:
        """The commit a revision names and its files."""
        wanted = self.tags.get(revision, revision)
        if wanted in ("main", "refs/heads/main"):
            return self.commits[-1]
        return next((c for c in self.commits if c[0] == wanted), None)


class Hub:
    """The server; a context manager."""

    def __init__(self, tokens: dict[str, str] | None = None) -> None:
        self.tokens = tokens or {"token": "alice"}
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        handler = type("Bound", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Any, token: str = "token") -> dict[str, str]:
        """Variables for a client process."""
        return {
            "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def reset(self) -> None:
        """Forget everything but the address and the tokens."""
        with self.lock:
            for kept in (self.repos, self.blobs, self.faults, self.log):
                kept.clear()

    def file(self, repo: str, path: str, revision: str = "main") -> bytes:
        """The content of a file."""
        found = self.repos[repo].tree(revision)
        assert found is not None
        return self.blobs[found[1][path]]

    def fault(self, method: str, path: str) -> int | str | None:
        """The fault that strikes this request, if any."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method in (method, "*") and re.search(fault.path, path):
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    fault.times -= 1
                    return fault.kind
        return None


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message or code


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        with self.hub.lock:
            self.hub.log.append((self.command, path))
        fault = self.hub.fault(self.command, path)
        if fault == "drop":
            # Half of what is announced is read, then the line is cut.
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self.connection.close()
            self.close_connection = True
            return
        body = self._body()
        try:
            if isinstance(fault, int):
                raise _Refused(fault, message="injected")
            with self.hub.lock:
                for method, pattern, action in _ROUTES:
                    found = re.fullmatch(pattern, path)
                    if found and self.command in method.split():
                        return action(self, body, **found.groupdict())
            raise _Refused(404, "EntryNotFound")
        except _Refused as e:
            headers = {"X-Error-Code": e.code, "X-Error-Message": e.message}
            self._send(e.status, json.dumps({"error": e.message}).encode(), {k: v for k, v in headers.items() if v})

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode())

    def _user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def _repo(self, repo: str, *, write: bool = False, content: bool = False) -> Repo:
        user, found = self._user(), self.hub.repos.get(repo)
        if found is None or (found.private and user not in {found.owner, *found.members}):
            raise _Refused(404 if user else 401, "RepoNotFound")
        if write and user != found.owner:
            raise _Refused(403, message="no write access")
        if content and found.gated and user not in {found.owner, *found.members}:
            raise _Refused(403 if user else 401, "GatedRepo")
        return found

    def _tree(self, repo: str, revision: str, *, content: bool = False) -> tuple[str, Tree]:
        found = self._repo(repo, content=content).tree(revision)
        if found is None:
            raise _Refused(404, "RevisionNotFound")
        return found

    def whoami(self, body: bytes) -> None:
        user = self._user()
        if user is None:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        self._json({"type": "user", "name": user, "fullname": user, "orgs": [], "auth": {"type": "access_token"}})

    def create(self, body: bytes) -> None:
        asked, user = json.loads(body), self._user()
        repo = f"{asked.get('organization') or user}/{asked['name']}"
        if user is None:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        if repo in self.hub.repos:
            content = json.dumps({"error": "You already created this repo", "url": f"{self.hub.url}/datasets/{repo}"})
            return self._send(409, content.encode())
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[repo] = Repo(private=private, owner=user)
        self._json({"url": f"{self.hub.url}/datasets/{repo}"})

    def settings(self, body: bytes, repo: str) -> None:
        found, asked = self._repo(repo, write=True), json.loads(body)
        found.gated = asked.get("gated", found.gated)
        if "visibility" in asked or "private" in asked:
            found.private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self._json({})

    def info(self, body: bytes, repo: str, revision: str | None = None) -> None:
        found = self._repo(repo)
        oid, tree = self._tree(repo, revision or "main")
        self._json(
            {"id": repo, "sha": oid, "private": found.private, "gated": found.gated, "disabled": False, "tags": [],
             "downloads": 0, "likes": 0, "siblings": [{"rfilename": p} for p in sorted(tree)]}
        )  # fmt: skip

    def refs(self, body: bytes, repo: str) -> None:
        found = self._repo(repo)
        tags = [{"name": t, "ref": f"refs/tags/{t}", "targetCommit": c} for t, c in found.tags.items()]
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found.commits[-1][0]}
        self._json({"branches": [main], "tags": tags, "converts": []})

    def tag(self, body: bytes, repo: str, revision: str) -> None:
        found, name = self._repo(repo, write=True), json.loads(body)["tag"]
        if name in found.tags:
            raise _Refused(409, message="Tag reference exists already")
        found.tags[name] = self._tree(repo, revision)[0]
        self._json({})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        self._repo(repo, write=True)
        tree = self._tree(repo, revision)[1]
        files = []
        for f in json.loads(body)["files"]:
            large = f["size"] > LFS_THRESHOLD
            old = self.hub.blobs.get(tree.get(f["path"], ""))
            oid = None if old is None else hashlib.sha256(old).hexdigest() if large else _git_oid(old)
            files.append(
                {"path": f["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}
            )
        self._json({"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        self._repo(repo, write=True)
        objects = []
        for o in json.loads(body)["objects"]:
            here = {"oid": o["oid"], "size": o["size"]}
            upload = {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{o['oid']}"}}}
            objects.append(here if o["oid"] in self.hub.blobs else here | upload)
        self._json({"transfer": "basic", "objects": objects})

    def lfs(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise _Refused(400, message="content does not match its oid")
        self.hub.blobs[oid] = body
        self._json({})

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        found, lines = self._repo(repo, write=True), [json.loads(line) for line in body.splitlines() if line]
        tree = dict(self._tree(repo, revision)[1])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
                tree[value["path"]] = hashlib.sha256(content).hexdigest()
                self.hub.blobs[tree[value["path"]]] = content
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    raise _Refused(400, message="LFS object was not uploaded")
                tree[value["path"]] = value["oid"]
            elif line["key"] == "deletedFile":
                tree.pop(value["path"])
        oid = hashlib.sha1(json.dumps([len(found.commits), tree], sort_keys=True).encode()).hexdigest()
        found.commits.append((oid, tree))
        self._json({"commitUrl": f"{self.hub.url}/datasets/{repo}/commit/{oid}", "commitOid": oid})

    def tree(self, body: bytes, repo: str, revision: str, path: str | None = None) -> None:
        files = self._tree(repo, revision)[1]
        prefix = f"{path.strip('/')}/" if path and path.strip("/") else ""
        recursive = "recursive=True" in self.path or "recursive=true" in self.path
        entries: dict[str, dict[str, Any]] = {}
        for name in sorted(files):
            if name.startswith(prefix):
                parts = name.removeprefix(prefix).split("/")
                for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                    folder = prefix + "/".join(parts[:depth])
                    entries.setdefault(folder, {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0})
                if recursive or len(parts) == 1:
                    entries[name] = self._entry(name, files[name])
        if prefix and not entries:
            raise _Refused(404, "EntryNotFound")
        self._json(list(entries.values()))

    def paths_info(self, body: bytes, repo: str, revision: str) -> None:
        files = self._tree(repo, revision)[1]
        asked = urllib.parse.parse_qs(body.decode()).get("paths", []) if body[:1] != b"{" else json.loads(body)["paths"]
        found = [self._entry(p, files[p]) for p in asked if p in files]
        folders = [p for p in asked if p not in files and any(f.startswith(f"{p}/") for f in files)]
        self._json([*found, *({"type": "directory", "path": p, "oid": "0" * 40, "size": 0} for p in folders)])

    def _entry(self, path: str, sha: str) -> dict[str, Any]:
        content = self.hub.blobs[sha]
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _git_oid(content)}
        if len(content) > LFS_THRESHOLD:
            entry["lfs"] = {"oid": sha, "size": len(content), "pointerSize": 134}
        return entry

    def resolve(self, body: bytes, repo: str, revision: str, path: str) -> None:
        oid, tree = self._tree(repo, revision, content=True)
        if path not in tree:
            raise _Refused(404, "EntryNotFound")
        content = self.hub.blobs[tree[path]]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{tree[path]}"', "Accept-Ranges": "bytes"}
        headers["Content-Type"] = "application/octet-stream"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._send(200, content, headers)
        start, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(206, content[start : end + 1], headers)

    def yaml(self, body: bytes) -> None:
        self._json({"errors": [], "warnings": []})


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


_ID = r"(?P<repo>[\w.-]+/[\w.-]+)"
_REV = r"(?P<revision>refs/[\w.-]+/[^/]+|[^/]+)"
_ROUTES = (
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.yaml),
    ("PUT", f"/api/datasets/{_ID}/settings", _Handler.settings),
    ("GET", f"/api/datasets/{_ID}/refs", _Handler.refs),
    ("POST", f"/api/datasets/{_ID}/tag/{_REV}", _Handler.tag),
    ("POST", f"/api/datasets/{_ID}/preupload/{_REV}", _Handler.preupload),
    ("POST", f"/api/datasets/{_ID}/commit/{_REV}", _Handler.commit),
    ("GET", f"/api/datasets/{_ID}/tree/{_REV}(?P<path>/.*)?", _Handler.tree),
    ("POST", f"/api/datasets/{_ID}/paths-info/{_REV}", _Handler.paths_info),
    ("GET", f"/api/datasets/{_ID}/revision/{_REV}", _Handler.info),
    ("GET", f"/api/datasets/{_ID}", _Handler.info),
    ("POST", f"/datasets/{_ID}\\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs),
    ("GET HEAD", f"/datasets/{_ID}/resolve/{_REV}/(?P<path>.+)", _Handler.resolve),
)
