"""The endpoint client against a real server on loopback: retries, refusals, no redirect, no secret in an error."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cxr_max.endpoint import Endpoint, EndpointError, Retention, is_local
from cxr_max.errors import RestrictedDataError, UsageError

Answer = tuple[int, dict[str, str], bytes]
OK = b'{"choices": [{"message": {"content": "yes"}}]}'


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[Answer]], tuple[str, list[Any]]]]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    servers = []

    def start(answers: list[Answer]) -> tuple[str, list[Any]]:
        seen: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, content = answers[min(len(seen), len(answers) - 1)]
                seen.append((self.path, dict(self.headers), json.loads(body)))
                if status == 0:
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1", seen

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_asks_and_parses(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MAX_API_KEY", "s3cret")
    url, seen = serve([(200, {}, OK)])
    answer = Endpoint(url, "m").chat([{"role": "user", "content": "hi"}], temperature=0)
    assert answer["choices"][0]["message"]["content"] == "yes"
    path, headers, body = seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer s3cret"
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}


def test_tries_again_after_faults(serve: Any) -> None:
    url, seen = serve([(503, {}, b""), (0, {}, b""), (429, {}, b""), (200, {}, OK)])
    assert Endpoint(url, "m").chat([])
    assert len(seen) == 4


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (401, 1), (500, 3)])
def test_gives_up_and_names_the_status_but_not_the_content(serve: Any, status: int, tries: int) -> None:
    url, seen = serve([(status, {}, b"secret report text")])
    with pytest.raises(EndpointError, match=f"status {status}") as caught:
        Endpoint(url, "m", retries=2).chat([{"role": "user", "content": "secret"}])
    assert len(seen) == tries
    assert "secret" not in str(caught.value)


def test_a_redirect_is_not_followed(serve: Any) -> None:
    elsewhere, seen_elsewhere = serve([(200, {}, OK)])
    url, _ = serve([(307, {"Location": f"{elsewhere}/chat/completions"}, b"")])
    with pytest.raises(EndpointError, match="307"):
        Endpoint(url, "m").chat([])
    assert seen_elsewhere == []


@pytest.mark.parametrize("content", [b"", b"[1]", b"not json"])
def test_a_strange_answer_is_an_error(serve: Any, content: bytes) -> None:
    url, _ = serve([(200, {}, content)])
    with pytest.raises(EndpointError):
        Endpoint(url, "m").chat([])


def test_an_endless_answer_is_not_read_to_its_end(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_max.endpoint.LIMIT", 1000)
    url, seen = serve([(200, {}, OK + b" " * 1000)])
    with pytest.raises(EndpointError, match="more than 1000 bytes"):
        Endpoint(url, "m").chat([])
    assert len(seen) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_local(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "example.org", "localhost.example.org", "0.0.0.0"])
def test_not_local_is_refused_without_a_declaration(host: str) -> None:
    assert not is_local(host)
    with pytest.raises(RestrictedDataError, match="retention"):
        Endpoint(f"https://{host}/v1", "m")
    Endpoint(f"https://{host}/v1", "m", Retention("A provider", "2026-01-01", "zero data retention"))
    with pytest.raises(RestrictedDataError, match="https"):
        Endpoint(f"http://{host}/v1", "m", Retention("A provider", "2026-01-01", "zero data retention"))


@pytest.mark.parametrize("url", ["", "ftp://127.0.0.1", "127.0.0.1:8000", "http://"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError):
        Endpoint(url, "m")


def test_an_empty_declaration_is_none() -> None:
    with pytest.raises(UsageError):
        Retention("A provider", "", "zero data retention")
