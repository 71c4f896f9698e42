"""A server that speaks OpenAI's API as badly as it is told to, for the tests of its client."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int, body: str, headers: dict[str, str] | None = None) -> Reply:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body.encode())

    return send


END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


def lines(*chunks: dict[str, Any] | str, done: bool = True) -> str:
    """A stream of these objects, and unless it is cut off, the reason for its end and the closing mark."""
    rows = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    return "".join(f"data: {row}\n\n" for row in [*rows, *([json.dumps(END), "[DONE]"] if done else [])])


def content(text: str, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text, **delta}, "finish_reason": None}]}


GOOD = reply(
    200,
    lines(
        content("", reasoning_content="hm"),
        content("hel"),
        content("lo"),
        {
            "choices": [],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}},
        },
    ),
)


class Faulty:
    """A server that gives the queued replies to POSTs, in order, and remembers what it was asked."""

    def __init__(self, **model: Any) -> None:
        """`model`: what the list of models says of its only one, `m`, beside its name."""
        self.replies: list[Reply] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reply(200, json.dumps({"data": [{"id": "m", "max_model_len": 4096} | model]}))(self)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self.path.endswith("completions"):
                    return reply(404, "{}")(self)
                outer.bodies.append(body)
                outer.keys.append(self.headers.get("Authorization"))
                return outer.replies.pop(0)(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
