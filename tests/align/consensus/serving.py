"""A real chat endpoint on loopback that answers from what it is asked, and can be told to fail or to be slow."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LEFT = "A left pleural effusion is present."
Body = dict[str, Any]


class Served:
    """A running endpoint.

    Attributes:
        url: its address, the model's name behind `#`.
        seen: bodies of all requests, in the order they came.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1#tiny"
        self.seen: list[Body] = []


def prompt_of(body: Body) -> str:
    """The text of a request."""
    return str(next(p["text"] for p in body["messages"][0]["content"] if p["type"] == "text"))


def usual(body: Body) -> tuple[int, Body]:
    """An answer that depends on the question and its settings alone."""
    text = f"{LEFT} Question of {len(prompt_of(body))} characters, seed {body.get('seed')}."
    return 200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}


@contextmanager
def serving(answer: Callable[[Body], tuple[int, Any]] = usual, *, delay: float = 0.0) -> Iterator[Served]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.seen.append(body)
            time.sleep(delay)
            status, content = answer(body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
