"""Several ranks over gloo: what they compute together, and a clear error within seconds whenever one is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from model import parallel
from model.errors import BadCheckpoint, LostRank, ModelError
from model.parallel import Ranks
from model.rank import STARTED, receive, send
from model.rank_process import RankProcess
from tests.model.rank_parts import Fragile, build_fragile, refuse_in_build, vanish_in_build

CPU = torch.device("cpu")


@pytest.fixture
def start() -> Iterator[Callable[..., Ranks[Any]]]:
    """Starts ranks of one thread each, and closes them."""
    opened: list[Ranks[Any]] = []

    def make(build: Callable[..., Any] = build_fragile, size: int = 2) -> Ranks[Any]:
        opened.append(Ranks(build, [CPU] * size, threads=1))
        return opened[-1]

    yield make
    for ranks in opened:
        ranks.close()


def gone(pids: list[int]) -> bool:
    """Whether the processes end within 10 s."""
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def environment() -> dict[str, str]:
    """In which other processes import what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}


def test_every_rank_makes_every_call(start: Callable[..., Ranks[Fragile]]) -> None:
    ranks = start(size=3)
    assert ranks.size == 3
    assert ranks.call("sum", 5) == 18  # 5 + 6 + 7
    assert ranks.ask("sum", 1) == [6, 6, 6]


def test_tensors_reach_every_rank(start: Callable[..., Ranks[Fragile]]) -> None:
    values, others = torch.randn(3, 4)[:, ::2], torch.arange(2, dtype=torch.bfloat16)
    expected = values * 2 + others.float() + 7
    own, other = start().ask("add", values, 7, others)
    assert torch.equal(own, expected) and torch.equal(other, expected + 1)


def test_closing_ends_the_processes_and_another_model_can_follow(start: Callable[..., Ranks[Fragile]]) -> None:
    ranks = start()
    pids = ranks.pids
    with pytest.raises(ModelError, match="already"):
        start()
    ranks.close()
    assert gone(pids)
    with pytest.raises(ModelError, match="closed"):
        ranks.call("sum", 1)
    assert start().call("sum", 5) == 11


def test_a_call_costs_little(start: Callable[..., Ranks[Fragile]]) -> None:
    ranks = start()
    readings = [([number], 1000 + number, tuple(range(17))) for number in range(16)]  # 16 sequences of 1000 tokens
    seconds = []
    for _ in range(200):
        begun = time.perf_counter()
        ranks.call("nothing", readings)
        seconds.append(time.perf_counter() - begun)
    typical = sorted(seconds)[100]
    print(f"a call: {typical * 1e6:.0f} us in rank 0")
    assert typical < 200e-6


@pytest.mark.parametrize(
    ("method", "said"),
    [("vanish", "Rank 1 was killed by SIGKILL.\nthe last words"), ("fail", "Rank 1 ended with exit code 1")],
)
def test_a_rank_lost_in_a_step_is_named_and_takes_the_others_along(
    start: Callable[..., Ranks[Fragile]], method: str, said: str
) -> None:
    ranks = start(size=3)
    pids = ranks.pids
    begun = time.monotonic()
    with pytest.raises(LostRank) as lost:
        ranks.call(method, 1)
    assert time.monotonic() - begun < 10
    assert said in lost.value.message
    if method == "fail":
        assert "ValueError: rank 1 cannot" in lost.value.message
    assert gone(pids)
    with pytest.raises(LostRank, match="Rank 1"):
        ranks.call("sum", 1)


def test_a_rank_killed_between_steps_is_noticed_by_the_next(start: Callable[..., Ranks[Fragile]]) -> None:
    ranks = start()
    assert ranks.call("sum", 5) == 11
    os.kill(ranks.pids[0], signal.SIGKILL)
    with pytest.raises(LostRank, match="Rank 1 was killed by SIGKILL"):
        ranks.call("sum", 5)


@pytest.mark.parametrize(
    ("limit", "method", "said"),
    [("_SILENCE", "stop", "gave no sign of life"), ("_STEP_LIMIT", "dawdle", "did not end a step with the others")],
)
def test_a_rank_that_keeps_the_others_waiting_is_lost(
    start: Callable[..., Ranks[Fragile]], monkeypatch: pytest.MonkeyPatch, limit: str, method: str, said: str
) -> None:
    monkeypatch.setattr(parallel, limit, 3.0)
    ranks = start()
    pids = ranks.pids
    with pytest.raises(LostRank, match=f"Rank 1 {said}"):
        ranks.call(method, 1)
    assert gone(pids)


STUCK = """
import os, signal, threading, torch
from tests.model.rank_parts import build_fragile
from model import parallel
parallel._never_returns, parallel._leave, parallel._RELEASE = lambda: True, lambda: None, 1.0  # as if NCCL hung
ranks = parallel.Ranks(build_fragile, [torch.device("cpu")] * 2, threads=1)
print(ranks._folder, flush=True)
threading.Timer(0.5, os.kill, (ranks.pids[0], signal.SIGKILL)).start()
ranks.call("dawdle", 0)
"""


def test_a_rank_0_that_nothing_frees_ends_with_the_error() -> None:
    begun = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, env=environment(), timeout=40)
    assert time.monotonic() - begun < 30  # most of it to start
    assert ended.returncode == LostRank.exit_code
    assert "A part of the model was lost: Rank 1 was killed by SIGKILL" in ended.stderr
    assert not Path(ended.stdout.strip()).exists()


def test_a_failure_of_rank_0_is_raised_as_it_is_and_ends_the_others(start: Callable[..., Ranks[Fragile]]) -> None:
    ranks = start()
    pids = ranks.pids
    with pytest.raises(ValueError, match="rank 0 cannot"):
        ranks.call("fail", 0)
    assert gone(pids)


def test_a_rank_lost_while_loading_does_not_wait_for_rank_0(start: Callable[..., Ranks[Fragile]]) -> None:
    begun = time.monotonic()
    with pytest.raises(LostRank, match="Rank 2 was killed by SIGKILL"):
        start(partial(vanish_in_build, 2), size=3)
    assert time.monotonic() - begun < 30  # most of it to start
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("fails", [False, True])
def test_a_rank_that_ends_before_rank_0_is_missed_removes_the_meeting_place(tmp_path: Path, fails: bool) -> None:
    """Its calls end, or what it does fails, as a collective does that rank 0 has left."""
    folder = tmp_path / "ranks"
    folder.mkdir()
    (folder / "ranks").write_text("the store of a model")
    process = RankProcess(1, folder, None)
    try:
        assert receive(process.calls) == STARTED
        if fails:
            send(process.calls, "no task")
        else:
            process.calls.close()
        assert process.ended(10.0) and not folder.exists()
    finally:
        process.close()


@pytest.mark.parametrize("rank", [0, 1])
def test_what_a_rank_cannot_load_is_raised_as_it_is(start: Callable[..., Ranks[Fragile]], rank: int) -> None:
    with pytest.raises(BadCheckpoint, match="a file is damaged mend it"):
        start(partial(refuse_in_build, rank))


SCRIPT = """
import sys, torch
from tests.model.rank_parts import build_fragile
from model.parallel import Ranks
ranks = Ranks(build_fragile, [torch.device("cpu")] * 3, threads=1)
print(*ranks.pids, ranks._folder, flush=True)
while len(sys.argv) < 2:
    ranks.call("sum", 1)
"""


@pytest.mark.parametrize("ending", [None, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_rank_outlives_its_parent(ending: signal.Signals | None) -> None:
    """None: it ends by itself, without closing. Signals of a terminal reach the ranks, too."""
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *(["end"] if ending is None else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    assert parent.stdout is not None and parent.stderr is not None
    first, second, folder = parent.stdout.readline().split()
    if ending is not None:
        time.sleep(0.3)
        if ending == signal.SIGKILL:
            parent.kill()
        else:
            os.killpg(parent.pid, ending)
    _, errors = parent.communicate(timeout=20)
    assert gone([int(first), int(second)])
    assert not Path(folder).exists()
    if ending in (None, signal.SIGINT):
        assert ("KeyboardInterrupt" in errors) == (ending is not None)
