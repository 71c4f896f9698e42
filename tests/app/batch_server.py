"""An OpenAI-compatible server with a fixed time per answer, whose answers depend on the question alone; it can be told
to fail in every way that a server has, each request by the toss of a seeded coin."""

import argparse
import hashlib
import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = ("stall", "drop", "cut", "429", "500", "garbage")


class BatchServer:
    def __init__(self, seconds: float = 0.0, failing: float = 0.0, port: int = 0) -> None:
        """`seconds` per answer; a share `failing` of the requests goes wrong, every second try of one at most."""
        self.seconds = seconds
        self.most = 0
        """Requests that were under way at once."""
        self.failures: Counter[str] = Counter()
        self.requests = 0
        self._now = 0
        self._failed: set[str] = set()
        self._lock = threading.Lock()
        self._coin = random.Random(7)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._say(json.dumps({"data": [{"id": "m", "max_model_len": 8192}]}).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self.path.endswith("/chat/completions"):
                    return self._say(b"{}", 404)
                with outer._lock:
                    outer.requests += 1
                    outer._now += 1
                    outer.most = max(outer.most, outer._now)
                    kind = outer._toss(json.dumps(body), failing)
                try:
                    time.sleep(outer.seconds)
                    self._answer(body["messages"][-1]["content"], kind)
                except OSError:
                    pass
                finally:
                    with outer._lock:
                        outer._now -= 1

            def _answer(self, asked: str, kind: str | None) -> None:
                said = f"It is number {hashlib.sha256(asked.encode()).hexdigest()[:12]}."
                events: list[dict[str, Any]] = [
                    {"choices": [{"delta": {"content": part}}]} for part in (said[:9], said[9:])
                ]
                events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
                lines = [json.dumps(event) for event in events] + ["[DONE]"]
                match kind:
                    case "429" | "500":
                        return self._say(b'{"error": {"message": "not now"}}', int(kind), {"Retry-After": "0"})
                    case "stall":
                        time.sleep(1.5)
                        self.close_connection = True
                        return None
                    case "drop":
                        self.close_connection = True
                        return None
                    case "cut":
                        lines = [lines[0], "[DONE]"]
                    case "garbage":
                        lines = ["{", "<html>"]
                return self._say("".join(f"data: {line}\n\n" for line in lines).encode())

            def _say(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Http(ThreadingHTTPServer):
            request_queue_size = 256

            def handle_error(self, request: Any, address: Any) -> None:
                pass  # a client that was killed

        self.http = Http(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self._thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _toss(self, body: str, failing: float) -> str | None:
        if body in self._failed or self._coin.random() >= failing:
            self._failed.discard(body)
            return None
        self._failed.add(body)
        kind = KINDS[sum(self.failures.values()) % len(KINDS)]
        self.failures[kind] += 1
        return kind

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--failing", type=float, default=0.0)
    given = parser.parse_args()
    server = BatchServer(given.seconds, given.failing)
    print(server.url, flush=True)
    threading.Event().wait()
