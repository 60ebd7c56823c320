"""A loopback HTTPS server that behaves like PhysioNet, its bad days included."""

import base64
import hashlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

USER, PASSWORD = "dr.who", "tardis-4711 #!=x"
PROJECT = "/files/mimic-cxr-jpg/2.1.0/"


@dataclass
class PhysioNet:
    """What is served and how.

    Attributes:
        files: address path -> content.
        busy: address path -> number of times it answers 503 first.
        drops: address path -> number of times the connection breaks after half of what is left.
        wrong: address path -> number of times the bytes are others.
        forbidden, unlisted: address paths that answer 403; that SHA256SUMS.txt leaves out.
        ranges: whether Range is understood.
        rate: bytes a second, or None.
        closed: every request answers 503.
    """

    files: dict[str, bytes]
    busy: Counter[str] = field(default_factory=Counter)
    drops: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    forbidden: set[str] = field(default_factory=set)
    ranges: bool = True
    rate: float | None = None
    closed: bool = False
    requests: list[tuple[str, str, int, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""
    certificate: Path = Path()

    def add_sums(self, *, leave_out: tuple[str, ...] = ()) -> None:
        """SHA256SUMS.txt as PhysioNet writes it: one space, sorted, itself left out."""
        lines = [
            f"{hashlib.sha256(content).hexdigest()} {path.removeprefix(PROJECT)}\n"
            for path, content in sorted(self.files.items())
            if path.startswith(PROJECT) and not path.endswith("SHA256SUMS.txt") and path not in leave_out
        ]
        self.files[PROJECT + "SHA256SUMS.txt"] = "".join(lines).encode()

    def take(self, counter: "Counter[str]", path: str) -> bool:
        with self.lock:
            if counter[path] <= 0:
                return False
            counter[path] -= 1
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: PhysioNet

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        agent, path = self.headers.get("User-Agent", ""), self.path
        self.site.requests.append((self.command, path, status, agent))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.pour(body)

    def pour(self, body: bytes) -> None:
        if self.site.rate is None:
            self.wfile.write(body)
            return
        step = max(int(self.site.rate / 50), 1)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            time.sleep(step / self.site.rate)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        site, path = self.site, self.path
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if not self.headers.get("User-Agent", "").startswith("Wget/"):
            self.answer(403, b"forbidden")
        elif self.headers.get("Authorization") != expected:
            self.answer(401, b"who?", WWW_Authenticate='Basic realm="PhysioNet", charset="UTF-8"')
        elif path in site.forbidden:
            self.answer(403, b"not yours")
        elif path not in site.files:
            self.answer(404, b"<html>no such file</html>")
        elif site.closed or site.take(site.busy, path):
            self.answer(503, b"<html>busy</html>")
        else:
            self.serve(site.files[path])

    def serve(self, content: bytes) -> None:
        site, path = self.site, self.path
        if site.take(site.wrong, path):
            content = bytes(len(content))
        start = 0
        wanted = self.headers.get("Range", "")
        if site.ranges and wanted.startswith("bytes=") and wanted.endswith("-"):
            start = int(wanted[6:-1])
            if start >= len(content):
                self.answer(416, b"", Content_Range=f"bytes */{len(content)}")
                return
        body = content[start:]
        if site.take(site.drops, path):
            site.requests.append((self.command, path, 0, ""))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.pour(body[: len(body) // 2])
            self.close_connection = True
        elif start:
            self.answer(206, body, Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.answer(200, body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was killed is no error."""


@contextmanager
def serve(site: PhysioNet, folder: Path) -> Iterator[PhysioNet]:
    """Run the site on loopback with a certificate of its own authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    site.certificate = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(site.certificate))
    handler = type("Handler", (_Handler,), {"site": site})
    server = _Server(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    site.url = f"https://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
