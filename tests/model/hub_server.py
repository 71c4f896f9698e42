"""A Hugging Face Hub in a thread: the listing of a repository and its files, with ranges, redirects and refusals."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
LARGE = (".safetensors", ".gguf", ".bin", ".pth")
PIECE = 1 << 16


@dataclass
class FakeHub:
    """One repository, `org/name`. The fields can be changed while it serves."""

    files: dict[str, bytes]
    url: str = ""
    refusal: tuple[int, str] | None = None
    """Status and X-Error-Code of every answer from now on."""
    pause: float = 0.0
    """Seconds after each piece of 64 KiB of a large file."""
    ranges: bool = True
    cut: int = 0
    """How many more answers break off after half of what they should send."""
    damaged: bool = False
    redirect: str | None = None
    """Where requests for files are sent in place of the file."""
    listed: bytes | None = None
    """What is answered in place of the listing."""
    overlong: int = 0
    """Bytes that large files have more than was listed."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(file, Range header) of each request for a file."""

    def listing(self) -> dict[str, object]:
        siblings = []
        for name, content in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            one: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": blob}
            if name.endswith(LARGE):
                one["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            siblings.append(one)
        return {"id": "org/name", "sha": COMMIT, "siblings": siblings}


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[FakeHub]:
    hub = FakeHub(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None: ...

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if hub.refusal:
                return self._answer(hub.refusal[0], b"", {"X-Error-Code": hub.refusal[1]})
            if path == "/api/models/org/name" or path.startswith("/api/models/org/name/revision/"):
                if path.rpartition("/")[2] not in ("name", "main", "v1", COMMIT):
                    return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
                return self._answer(200, json.dumps(hub.listing()).encode() if hub.listed is None else hub.listed)
            resolve = f"/org/name/resolve/{COMMIT}/"
            if path.startswith(resolve):
                place = hub.redirect if hub.redirect is not None else f"/cdn/{path.removeprefix(resolve)}"
                return self._answer(302, b"", {"Location": place})
            if path.startswith("/cdn/"):
                return self._file(path.removeprefix("/cdn/"))
            return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

        def _file(self, name: str) -> None:
            wanted = self.headers.get("Range", "")
            hub.asked.append((name, wanted))
            content = hub.files[name]
            if hub.damaged and name.endswith(LARGE):
                content = content[:-1] + bytes([content[-1] ^ 1])
            if name.endswith(LARGE):
                content += bytes(hub.overlong)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and hub.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content)
            if hub.cut and name.endswith(LARGE):
                hub.cut -= 1
                end = (start + end) // 2
                self.close_connection = True
            try:
                for at in range(start, end, PIECE):
                    self.wfile.write(content[at : min(at + PIECE, end)])
                    if name.endswith(LARGE):
                        time.sleep(hub.pause)
            except OSError:
                self.close_connection = True  # the reader was killed

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
