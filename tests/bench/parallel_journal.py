"""The results of parallel_bench.py as JSON lines, which also say how far it came."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

_OVERRAN = 75
"""Exit code where a job outlasted its limit: the same command again goes on after it."""


_GRACE = 15.0
"""Seconds in which a process that has done its work ends."""


class Journal:
    """Jobs of an earlier run, even those that ended it, are not started again."""

    def __init__(self, path: str, until: float | None) -> None:
        """`until`: seconds since 1970 after which no job is started."""
        place = Path(path)
        before = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
        self._started = {one["job"] for one in before if one["what"] == "start"}
        self._until, self._job = until, ""
        self._file = place.open("a")

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.tell(what="failed", job=self._job, error=repr(error)[:1000])
        self._file.close()
        # What is left of NCCL may keep a process from ending.
        ending = threading.Timer(_GRACE, os._exit, (1 if error is not None else 0,))
        ending.daemon = True
        ending.start()

    def tell(self, **fields: Any) -> None:
        line = json.dumps({**fields, "at": round(time.time(), 1)})
        print(line, flush=True)
        self._file.write(line + "\n")
        self._file.flush()

    def starts(self, job: str, again: bool = False) -> bool:
        """Whether `job` is to be done now; `again`: even if it was started before."""
        if job in self._started and not again:
            return False
        if self._until is not None and time.time() > self._until:
            self.tell(what="no time", job=job)
            return False
        self._job = job
        if not again:
            self._started.add(job)
            self.tell(what="start", job=job)
        return True

    @contextmanager
    def limit(self, seconds: float, job: str = "") -> Iterator[None]:
        """End the process where this takes longer: nothing else interrupts a wait for a GPU."""
        self._job = job or self._job

        def end() -> None:
            self.tell(what="overran", job=self._job, limit=seconds)
            sys.stdout.flush()
            os._exit(_OVERRAN)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
