"""Files are read in worker processes, so that a hostile or broken one costs itself and nothing else."""

import os
import pickle
import queue
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from retrieval.errors import EmptyText, NoText, OcrMissing, RetrievalError, UnreadableDocument, UnsupportedType
from retrieval.readers.child import HEADER_BYTES
from retrieval.readers.extraction import Extraction
from retrieval.readers.page import PageAsked, PagePicture

_START_SECONDS = 60.0
"""For a worker to come up: 0.15 s on an idle machine, many times that on one short of memory."""

_ERRORS: Mapping[str, type[UnreadableDocument]] = {
    kind.__name__: kind for kind in (UnsupportedType, NoText, EmptyText, OcrMissing)
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost."""

    seconds: float = 60.0
    memory_mib: int = 2048
    """Of address space, for the whole worker process."""
    file_mib: int = 200
    scan_seconds: float = 900.0
    """For recognising the pictures of one file, beside `seconds`."""
    languages: str = ""
    """Of those pictures, as tesseract names them; empty: those that are installed."""


class _Died(Exception):
    """The worker ended without an answer."""


class _Late(Exception):
    """No answer within the limit."""


class _Worker:
    """One process; started on its first file, and again after it was lost."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def ask(self, path: Path, asked: PageAsked | None = None) -> Extraction | PagePicture:
        """The text of a file, or a picture of one of its pages.

        Raises UnreadableDocument (UnsupportedType among it), the file named.
        """
        self._check(path)
        try:
            process = self._started()
        except (_Died, _Late, OSError) as error:
            self._kill()
            why = "reading was stopped" if self._closed else f"the reading process could not be started ({error!r})"
            raise UnreadableDocument(f"{path}: {why}.") from error
        try:
            data = pickle.dumps((str(path), asked))
            assert process.stdin is not None  # opened as a pipe
            process.stdin.write(len(data).to_bytes(HEADER_BYTES, "little") + data)
            process.stdin.flush()
            answer = _receive(process, time.monotonic() + self._limits.seconds)
            if answer == ("scanning",):
                answer = _receive(process, time.monotonic() + self._limits.scan_seconds + self._limits.seconds)
        except _Late as error:
            self._kill()
            raise UnreadableDocument(f"{path}: reading took longer than {self._limits.seconds:g} s.") from error
        except (_Died, OSError) as error:
            raise UnreadableDocument(f"{path}: {self._cause_of_death(process)}.") from error
        except BaseException:
            self._kill()  # an interrupted worker would answer the next file with this one's text
            raise
        match answer:
            case ("done", (Extraction() | PagePicture()) as result):
                return result
            case ("failed", str(kind), str(message), str(mend)):
                raise _ERRORS.get(kind, UnreadableDocument)(message, mend)
            case _:
                self._kill()
                raise UnreadableDocument(f"{path}: reading it needs more than {self._limits.memory_mib} MiB of memory.")

    def close(self) -> None:
        """End the process, whatever it is doing, and start no other."""
        self._closed = True
        self._kill()

    def _check(self, path: Path) -> None:
        try:
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                path.open("rb").close()
            elif stat.S_ISDIR(status.st_mode):
                os.scandir(path).close()  # a folder comes here where it could not be looked into
        except OSError as error:
            raise UnreadableDocument(f"{path}: {error.strerror or error}.") from error
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableDocument(f"{path}: it is not a regular file.")
        if status.st_size > self._limits.file_mib * 2**20:
            raise UnreadableDocument(
                f"{path}: it has {status.st_size / 2**20:.0f} MiB, more than {self._limits.file_mib}.", "Split it."
            )

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._closed:
                raise _Died
            if self._process is not None and self._process.poll() is None:
                return self._process
            root = str(Path(__file__).parents[2])
            paths = os.pathsep.join(path for path in (root, os.environ.get("PYTHONPATH")) if path)
            # A new session: Ctrl+C in the terminal reaches the parent alone, which ends its workers.
            # -P: a folder of documents that holds an email.py must not become part of the program.
            self._process = process = subprocess.Popen(
                [
                    sys.executable, "-P", "-m", "retrieval.readers.child",
                    str(self._limits.memory_mib * 2**20), str(max(int(self._limits.seconds), 1)), str(os.getpid()),
                    str(max(int(self._limits.scan_seconds), 1)), self._limits.languages,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        _receive(process, time.monotonic() + _START_SECONDS)
        return process

    def _kill(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and a tesseract that it waits for
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def _cause_of_death(self, process: "subprocess.Popen[bytes]") -> str:
        try:
            code = process.wait(1.0)
        except subprocess.TimeoutExpired:
            code = 0
        closed = self._closed
        self._kill()
        if closed:
            return "reading was stopped"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            return f"its reader crashed ({name})"
        return f"its reader ended early (exit code {code})"


class ReaderPool:
    """Reads files in `workers` spawned processes; use as a context manager, which ends them all.

    A crash, a time-out or lack of memory fails the file at hand; its worker is replaced and the rest goes on.
    """

    def __init__(self, workers: int = 1, limits: Limits | None = None) -> None:
        self._workers = [_Worker(limits or Limits()) for _ in range(max(workers, 1))]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(len(self._workers), thread_name_prefix="reader")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, busy or not."""
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def read(self, path: Path) -> Extraction:
        """Raises UnreadableDocument or UnsupportedType, the file and the reason named."""
        read = self._ask(path)
        assert isinstance(read, Extraction)  # what was asked for
        return read

    def draw(self, path: Path, asked: PageAsked) -> PagePicture:
        """A page of a PDF as a picture. Raises UnreadableDocument, the file and the reason named."""
        drawn = self._ask(path, asked)
        assert isinstance(drawn, PagePicture)  # what was asked for
        return drawn

    def _ask(self, path: Path, asked: PageAsked | None = None) -> Extraction | PagePicture:
        worker = self._idle.get()
        try:
            return worker.ask(path, asked)
        finally:
            self._idle.put(worker)

    def run_many(self, paths: Iterable[Path]) -> Iterator[tuple[Path, Extraction | RetrievalError]]:
        """Each path with its extraction or its error, in the order given, read a few files ahead.

        `paths` is consumed as needed, so it may be a walk over a large tree.
        """
        ahead: deque[tuple[Path, Future[Extraction]]] = deque()
        source = iter(paths)
        try:
            while True:
                while len(ahead) < 2 * len(self._workers) and (path := next(source, None)) is not None:
                    ahead.append((path, self._threads.submit(self.read, path)))
                if not ahead:
                    return
                path, future = ahead.popleft()
                try:
                    result: Extraction | RetrievalError = future.result()
                except RetrievalError as error:
                    result = error
                yield path, result
        finally:
            for _, future in ahead:
                future.cancel()


def _receive(process: "subprocess.Popen[bytes]", deadline: float) -> Any:
    assert process.stdout is not None  # opened as a pipe
    descriptor = process.stdout.fileno()
    length = int.from_bytes(_read_exactly(descriptor, HEADER_BYTES, deadline), "little")
    return pickle.loads(_read_exactly(descriptor, length, deadline))


def _read_exactly(descriptor: int, count: int, deadline: float) -> bytes:
    data = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(data) < count:
        # Short waits, because a pipe closed by another thread wakes nobody.
        if not poll.poll(min(max(deadline - time.monotonic(), 0.0), 0.5) * 1000):
            if time.monotonic() >= deadline:
                raise _Late
            continue
        block = os.read(descriptor, min(count - len(data), 1 << 20))
        if not block:
            raise _Died
        data += block
    return bytes(data)
