"""The worker process: reads one file after another, as told on its standard input. Run by `ReaderPool`.

Messages are pickles behind an 8-byte length. In: a path with None, or with the page to draw. Out: `None` once ready,
then for each ("done", Extraction or PagePicture), ("failed", error class name, message, mend) or ("memory",), after
which the process ends; before it ("scanning",), where pictures are to be recognised, which takes longer.
"""

import os
import pickle
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from retrieval.readers.page import PageAsked, PagePicture

HEADER_BYTES = 8
_CPU_GRACE = 10


def main() -> None:
    """`child MEMORY_BYTES SECONDS PARENT SCAN_SECONDS LANGUAGES`: serve until standard input ends or the parent is
    gone."""
    memory, seconds, parent, scan_seconds = (int(argument) for argument in sys.argv[1:5])
    languages = sys.argv[5]
    sys.setrecursionlimit(2_500)  # pages are walked element in element, up to 2,048 levels
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    # Native parsers print warnings: they must reach neither the answers' pipe nor the user's screen.
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    jobs = sys.stdin.buffer

    from retrieval.errors import UnreadableDocument
    from retrieval.readers.ocr import Scans
    from retrieval.readers.registry import read

    def begun() -> None:
        _send(answers, ("scanning",))
        _limit_cpu(seconds + scan_seconds)

    _send(answers, None)
    while (job := _receive(jobs)) is not None:
        path, asked = job
        _limit_cpu(seconds)
        answer: tuple[object, ...]
        try:
            if asked is None:
                answer = ("done", read(Path(path), Scans(languages, scan_seconds, begun)))
            else:
                answer = ("done", _draw(Path(path), asked))
        except UnreadableDocument as error:
            answer = ("failed", type(error).__name__, error.message, error.mend)
        except MemoryError:
            answer = ("memory",)
        except Exception as error:  # noqa: BLE001  the process boundary: whatever a parser raised is that file's failure
            answer = (
                "failed",
                "UnreadableDocument",
                f"{path}: its reader failed: {type(error).__name__}: {error}.",
                "",
            )
        try:
            _send(answers, answer)
        except MemoryError:
            answer = ("memory",)
            _send(answers, answer)
        if answer == ("memory",):
            return  # what is left of the address space is fragmented; a fresh process is cheap


def _draw(path: Path, asked: "PageAsked") -> "PagePicture":
    from retrieval.readers.drawing import draw_page  # NumPy, which no reader of text needs

    return draw_page(path, asked)


def _limit_cpu(seconds: int) -> None:
    """A last resort for a native loop that outlives its parent: the kernel ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + seconds + _CPU_GRACE
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _end_with_parent(parent: int) -> None:
    """Watch the parent's id: PR_SET_PDEATHSIG would end the process with the *thread* that started it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    if os.getpgrp() == os.getpid():  # a session of its own, as `ReaderPool` starts it: what it started ends, too
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _send(stream: BinaryIO, message: object) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(len(data).to_bytes(HEADER_BYTES, "little"))
    stream.write(data)
    stream.flush()


def _receive(stream: BinaryIO) -> "tuple[str, PageAsked | None] | None":
    header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    message: tuple[str, PageAsked | None] = pickle.loads(stream.read(int.from_bytes(header, "little")))
    return message


if __name__ == "__main__":
    main()
