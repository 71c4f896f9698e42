"""Sums through peers' memory: several processes over files by Triton's interpreter; with the mark gpu, on two GPUs.

python -m pytest -n 0 -s tests/model/test_peers.py
"""

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="Triton is not installed")

from model import peers
from model.errors import LostRank
from model.kernels import messages
from model.parallel import Ranks
from tests.model.peer_parts import Near, build_linked, build_mapped

CPU = torch.device("cpu")
HANDED = [(1, 96), (2, 3, 700), (1, 2), (4,)]
SHAPES = [(1, 96), (3, 640), (1, 2), (2, 1500), (1, 96), (1, 96)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What ranks set by themselves, and rank 0 is to have as it was afterwards."""
    for module, name in ((messages, "_PROGRAMS"), (messages, "_HOP"), (peers, "MOST"), (peers, "_open")):
        monkeypatch.setattr(module, name, getattr(module, name))
    yield
    peers.close_peers()


def close_to(found: list[tuple[list[Tensor], list[Tensor]]], dtype: torch.dtype, most: float) -> None:
    """Every sum is near the exact one, and the same bits in every rank."""
    for place, (own, exact) in enumerate(zip(*found[0], strict=True)):
        assert own.dtype == dtype and all(torch.equal(own, sums[place]) for sums, _ in found)
        error = float((own.double() - exact).abs().max() / exact.std() if exact.numel() > 2 else 0.0)
        print(f"{tuple(own.shape)} {dtype}: largest difference {error:.1e} standard deviations")
        assert error < most


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton's interpreter is for machines without a GPU")
def test_sums_through_files_are_those_of_gloo(tmp_path: Path, small: None) -> None:
    ranks: Ranks[Near] = Ranks(partial(build_mapped, tmp_path), [CPU] * 3, threads=1)
    try:
        words = [rows * columns // 2 for rows, columns in SHAPES]
        assert min(words) < messages.one_hop(3) < max(words)  # in one hop and in two
        close_to(ranks.ask("sums", SHAPES, torch.float32), torch.float32, 1e-6)
        close_to(ranks.ask("sums", SHAPES, torch.bfloat16), torch.bfloat16, 0.02)
        assert all(ranks.ask("handed", HANDED))
    finally:
        ranks.close()
    assert peers.peers() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton's interpreter is for machines without a GPU")
def test_what_is_given_up_does_not_wait(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    messages._PROGRAMS, peers.MOST = 2, 4096
    monkeypatch.setattr(messages, "_PATIENCE", type(messages._PATIENCE)(64))  # the interpreter is slow
    memory = [torch.zeros(peers.memory_words(2), dtype=torch.int64) for _ in range(2)]
    near = peers.Peers(0, [one.data_ptr() for one in memory], CPU, memory)
    threading.Timer(0.5, near.give_up).start()
    begun = time.monotonic()
    near.sum(torch.ones(1, 64))  # rank 1 never sends
    assert 0.4 < time.monotonic() - begun < 30


def test_only_small_whole_words_are_taken() -> None:
    near = peers.Peers(0, [0, 0], CPU, None)
    wide = torch.zeros(4, 7168, dtype=torch.bfloat16)
    assert near.takes(wide) and near.takes(wide[1:]) and near.takes(wide.float())
    assert not near.takes(wide[:, :100])
    assert not near.takes(torch.zeros(3, 3, dtype=torch.bfloat16))
    assert not near.takes(wide.double())
    assert not near.takes(torch.zeros(peers.MOST // 2 + 2, dtype=torch.bfloat16))


@pytest.fixture(scope="module")
def linked() -> Iterator[Ranks[Near]]:
    """On all GPUs, at most eight; the last test closes them."""
    number = min(torch.cuda.device_count(), 8)
    if number < 2:
        pytest.skip("needs two NVIDIA GPUs")
    ranks: Ranks[Near] = Ranks(build_linked, [torch.device("cuda", one) for one in range(number)])
    assert all(ranks.ask("near")), "these GPUs do not reach one another's memory"
    yield ranks
    ranks.close()


@pytest.mark.gpu
def test_sums_through_peers_are_those_of_nccl(linked: Ranks[Near]) -> None:
    rows = (1, 2, 7, 16, 64, 256)
    for dtype, most in ((torch.float32, 2e-6), (torch.bfloat16, 0.03)):
        wide = [(count, 7168) for count in rows if count * 7168 * dtype.itemsize <= peers.MOST]
        close_to(linked.ask("sums", [*SHAPES, *wide], dtype), dtype, most)


@pytest.mark.gpu
def test_recorded_sums_follow_their_inputs(linked: Ranks[Near]) -> None:
    shapes = [(1, 7168)] * 20 + [(16, 7168), (1, 2048), (256, 7168), (1, 7168)]
    close_to(linked.ask("replayed", shapes, 50), torch.bfloat16, 0.03)


@pytest.mark.gpu
def test_what_ranks_hand_to_one_another_arrives(linked: Ranks[Near]) -> None:
    assert all(linked.ask("handed", [*HANDED, (1, 16, 576), (64, 16, 528), (16, 16160), (256, 16160)]))


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [1, 16, 64, 256])
def test_one_late_rank_does_not_make_later_sums_slow(linked: Ranks[Near], rows: int) -> None:
    slowest = max(linked.ask("pace", (rows, 7168), 0.05))
    print(f"{rows} rows: {slowest:.1f} us")
    assert slowest < 200  # NCCL takes 15 to 60


@pytest.mark.gpu
def test_ranks_are_opened_again_and_one_killed_while_sums_are_made_is_an_error(linked: Ranks[Near]) -> None:
    linked.close()
    assert peers.peers() is None
    ranks: Ranks[Near] = Ranks(build_linked, linked.devices)
    try:
        assert all(ranks.ask("near"))
        close_to(ranks.ask("sums", SHAPES, torch.bfloat16), torch.bfloat16, 0.03)
        begun = time.monotonic()
        with pytest.raises(LostRank, match="was killed by SIGKILL"):
            ranks.call("vanish", 100)
        print(f"after {time.monotonic() - begun:.1f} s")
        assert time.monotonic() - begun < 10
    finally:
        ranks.close()
