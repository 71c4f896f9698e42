"""A model spread over several processes of one machine: rank 0 is the caller's, the others are started here.

Every rank builds its part (see shard.py) and then repeats the calls that rank 0 makes, in the same order and with the
same arguments; inside a call the ranks meet in collectives. Only rank 0 sees results. A rank that ends or freezes ends
all others, and the caller gets `LostRank`. Knows nothing about models.
"""

import atexit
import gc
import os
import pickle
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from model.errors import LostRank, ModelError, UnsupportedOperation
from model.peers import close_peers, peers
from model.rank import BEAT, READY, STARTED, Coming, Task, join, receive, remove, send
from model.rank_process import RankProcess
from model.shard import Shard

_START_LIMIT = 180.0
"""Seconds for a new process to import torch from a cold disk."""

_SILENCE = 20 * BEAT
"""Seconds without a sign of life after which a rank counts as lost."""

_GRACE = 2.0
"""Seconds in which the end of a rank explains a failure of rank 0, and in which ranks end by themselves on closing."""

_STEP_LIMIT = 600.0
"""Seconds of waiting for results after which ranks count as stuck in collectives that do not match."""

_RELEASE = 8.0
"""Seconds after a loss in which NCCL must let go of rank 0."""

PartT = TypeVar("PartT")
Result = TypeVar("Result")


class Ranks(Generic[PartT]):
    """Rank 0's own `part`, and the processes that mirror it."""

    part: PartT

    def __init__(
        self,
        build: Callable[[Shard, torch.device], PartT],
        devices: Sequence[torch.device],
        threads: int | None = None,
        build_first: Callable[[Shard, torch.device], PartT] | None = None,
    ) -> None:
        """Start a rank per further device and have each `build` its part; `threads` are the CPU threads of each.

        `build` is pickled: a module's function, or a partial of one. `build_first` is used in its place by rank 0, and
        may be anything.

        :raises LostRank: a process ended before its part was built.
        :raises ModelError: building failed, or other ranks are open in this process.
        """
        if sys.platform == "win32":
            raise UnsupportedOperation("Several ranks are not offered on Windows.", "Set model.ranks to 1.")
        if torch.distributed.is_initialized():
            raise ModelError("This process has a model of several ranks already.", "Close that one first.")
        self.devices = tuple(devices)
        self._loss: str | None = None
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._since: float | None = None  # when rank 0 began to wait for results, if it does
        size = len(devices)
        self._folder = Path(tempfile.mkdtemp(prefix="loci-ranks-"))
        self._others: list[RankProcess] = []
        tasks = [Task(Shard(rank, size), device, self._folder, build) for rank, device in enumerate(devices)]
        atexit.register(self.close)  # for whoever does not
        try:
            # 1. Start them all; each says so once torch is imported.
            for rank in range(1, size):
                self._others.append(RankProcess(rank, self._folder, threads))
            self._expect(STARTED)
            threading.Thread(target=self._watch, daemon=True, name="ranks").start()
            # 2. All meet, and build at the same time.
            for process, task in zip(self._others, tasks[1:], strict=True):
                send(process.calls, task)
            first = replace(tasks[0], build=build_first or build)
            self.part = self._unless_lost(lambda: _join_and_build(first))
            if devices[0].type == "cuda":
                torch.cuda.set_device(devices[0])  # it is a property of the thread
            self._expect(READY)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        return 1 + len(self._others)

    @property
    def pids(self) -> list[int]:
        """Process ids of the ranks after the first."""
        return [process.pid for process in self._others]

    def call(self, method: str, *arguments: Any) -> Any:
        """`part.method(*arguments)` on every rank, in inference mode; rank 0's result.

        Arguments are values of the host, or tensors, which all ranks get on their devices.

        :raises LostRank: a rank is gone; so are then all others.
        """
        return self._call(method, arguments, wanted=False)[0]

    def ask(self, method: str, *arguments: Any) -> list[Any]:
        """`call`, but with every rank's result, in order of rank."""
        return self._call(method, arguments, wanted=True)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around what waits for results of calls: what a lost rank makes of it is raised as `LostRank`.

        On a GPU a call returns before its results are there; if a rank is lost then, they are worthless.
        """
        outermost = self._since is None
        if outermost:
            self._since = time.monotonic()
        try:
            yield
        except ModelError:
            raise
        except Exception as error:
            with self._changed:
                self._changed.wait_for(lambda: self._loss is not None, _GRACE)
            if self._loss is not None:
                self.close()
                raise _lost(self._loss) from error
            raise
        finally:
            if outermost:
                with self._changed:
                    self._since = None
                    self._changed.notify_all()
        self.check()

    def check(self) -> None:
        """:raises LostRank: a rank is gone."""
        if self._loss is not None:
            self.close()
            raise _lost(self._loss)
        if self._closed.is_set():
            raise ModelError("The ranks of this model were closed.", "Open the model again.")

    def close(self) -> None:
        """End all ranks; can be called again."""
        if self._closed.is_set():
            return
        self._closed.set()
        atexit.unregister(self.close)
        for process in self._others:
            process.calls.close()  # which asks a waiting rank to end
        if self._loss is None:
            deadline = time.monotonic() + _GRACE
            for process in self._others:
                process.ended(max(deadline - time.monotonic(), 0))
        for process in self._others:
            process.close()
        # NCCL leaves only after the CUDA graphs that hold its collectives (its communicator counts them).
        vars(self).pop("part", None)
        gc.collect()
        _leave()
        close_peers()
        remove(self._folder)

    # --- Sending and receiving

    def _call(self, method: str, arguments: tuple[Any, ...], wanted: bool) -> list[Any]:
        """Rank 0's result, and where `wanted` those of the others."""
        self.check()
        tensors = {
            place: one.to(self.devices[0]).contiguous()
            for place, one in enumerate(arguments)
            if isinstance(one, Tensor)
        }
        sent = [Coming(one.shape, one.dtype) if isinstance(one, Tensor) else one for one in arguments]
        message = pickle.dumps((method, sent, wanted), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            with self.guard(), torch.inference_mode():
                for process in self._others:
                    process.calls.send_bytes(message)
                for one in tensors.values():
                    torch.distributed.broadcast(one, 0)
                own = getattr(self.part, method)(*(tensors.get(place, one) for place, one in enumerate(arguments)))
                return [own, *(self._receive(process, None) for process in self._others if wanted)]
        except BaseException:
            self.close()  # the ranks are at different places now
            raise

    def _expect(self, word: str) -> None:
        """Wait until every rank has said `word`."""
        for process in self._others:
            said = self._receive(process, _START_LIMIT if word == STARTED else None)
            if isinstance(said, ModelError):
                raise said
            if said != word:
                raise _lost(f"Rank {process.rank} said {said!r} instead of {word!r}.")

    def _receive(self, process: RankProcess, limit: float | None) -> Any:
        """The next message of a rank, unless any rank ends first."""
        deadline = None if limit is None else time.monotonic() + limit
        while not process.calls.poll(0.1):
            if self._loss is not None:
                raise _lost(self._loss)
            if deadline is not None and time.monotonic() > deadline:
                raise _lost(f"Rank {process.rank} did not start within {limit:.0f} s.")
        try:
            return receive(process.calls)
        except (EOFError, ConnectionError) as error:
            process.ended(_GRACE)
            raise _lost(self._loss or f"Rank {process.rank} {process.ending()}") from error

    def _unless_lost(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, which runs in a thread of its own: should a rank be lost, it is left behind."""
        results: list[Result] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
                errors.append(error)
            with self._changed:
                self._changed.notify_all()

        threading.Thread(target=run, daemon=True, name="rank 0").start()
        with self._changed:
            self._changed.wait_for(lambda: results or errors or self._loss is not None)
            if errors and not isinstance(errors[0], ModelError):  # a peer may notice a loss before it is told here
                self._changed.wait_for(lambda: self._loss is not None, _GRACE)
        if self._loss is not None:
            raise _lost(self._loss)
        if errors:
            raise errors[0]
        return results[0]

    # --- Watching

    def _watch(self) -> None:
        """Notice the first rank that ends or falls silent, end the others, and free rank 0 from waiting for them."""
        now = time.monotonic()
        lives = {process.life: process for process in self._others}
        for process in self._others:
            process.beat = now
        while not self._closed.is_set():
            try:
                heard = wait(list(lives), timeout=BEAT)
            except (OSError, ValueError):
                return  # closed meanwhile
            if self._closed.is_set():
                return
            now = time.monotonic()
            for life in heard:
                process = lives[life]  # type: ignore[index]  # `wait` returns what it was given
                if not _receive_beat(process.life):
                    process.ended(_GRACE)
                    return self._lose(process, process.ending())
                process.beat = now
            for process in self._others:
                if now - process.beat > _SILENCE:
                    return self._lose(process, f"gave no sign of life for {_SILENCE:.0f} s.")
            since = self._since
            if since is not None and now - since > _STEP_LIMIT:
                return self._lose(self._others[0], f"did not end a step with the others within {_STEP_LIMIT:.0f} s.")

    def _lose(self, process: RankProcess, how: str) -> None:
        if self._closed.is_set():
            return
        with self._changed:
            self._loss = f"Rank {process.rank} {how}"
            self._changed.notify_all()
        for other in self._others:
            other.kill()
        if (near := peers()) is not None:
            near.give_up()
        if _never_returns():
            _leave()
            with self._changed:
                freed = self._changed.wait_for(lambda: self._since is None, _RELEASE)
            if not freed:  # nothing else interrupts a wait for a GPU, and an end is better than a hang
                remove(self._folder)
                print(f"{LostRank.title}: {_lost(self._loss)}", file=sys.stderr, flush=True)
                os._exit(LostRank.exit_code)


def _receive_beat(life: socket.socket) -> bool:
    try:
        return bool(life.recv(4096))
    except OSError:
        return False


def _join_and_build(task: Task) -> Any:
    join(task)
    return task.build(task.shard, task.device)


_LEAVING = threading.Lock()


def _never_returns() -> bool:
    """Whether what waits for a lost rank does so for ever: NCCL's kernels do; gloo's sockets fail by themselves."""
    return torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl"


def _leave() -> None:
    """Leave the process group. Aborting NCCL frees what waits, but may itself hang (NVIDIA/nccl issues 549, 1013)."""

    def leave() -> None:
        with _LEAVING:
            if _never_returns():
                torch.distributed.distributed_c10d._abort_process_group()  # destroying would wait for the others
            elif torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()

    leaving = threading.Thread(target=leave, daemon=True, name="leave ranks")
    leaving.start()
    leaving.join(_GRACE)


def _lost(what: str) -> LostRank:
    return LostRank(what, "All ranks were ended; open the model again.")
