"""What a machine can hold and how fast it moves it: free memory, cores, GPUs, bandwidths. Loads no torch.

Knows nothing about models.
"""

import mmap
import os
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

GIB = 1 << 30

_GPU_RATES: tuple[tuple[str, float, float], ...] = (
    # Measured here (device_rates.py).
    ("H200", 4.3e12, 788e12), ("H100 80GB", 3.0e12, 790e12),
    # Of the makers' data sheets: memory, and dense half precision with float32 sums; 0.8 of each is reached.
    ("H100 PCIe", 1.6e12, 600e12), ("H100 NVL", 3.1e12, 660e12), ("B200", 6.4e12, 1800e12),
    ("A100-SXM4-80GB", 1.6e12, 250e12), ("A100", 1.25e12, 250e12), ("L40S", 0.69e12, 290e12), ("L4", 0.24e12, 95e12),
    ("RTX 5090", 1.43e12, 165e12), ("RTX 4090", 0.80e12, 130e12), ("RTX 4080", 0.57e12, 78e12),
    ("RTX 4070", 0.40e12, 47e12), ("RTX 3090", 0.75e12, 57e12), ("RTX 3080", 0.60e12, 47e12),
    ("RTX 3060", 0.29e12, 20e12), ("A6000", 0.61e12, 120e12), ("V100", 0.72e12, 100e12), ("T4", 0.25e12, 50e12),
)  # fmt: skip
_UNKNOWN_GPU = (0.3e12, 30e12)
"""Rates of a GPU that is not listed: those of a small one, so that a plan promises too little."""
_SLOW_HOST = 2e10
"""bytes/s"""
_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")
_TRIED = 64 << 20
"""Bytes that each thread copies to measure bandwidth: more than its share of any cache."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, as far as a plan goes by it."""

    name: str
    total: int
    """bytes"""
    free: int
    bandwidth: float
    """bytes/s read from its memory"""
    matrix: float
    """operations/s of a large product in half precision"""


@dataclass(frozen=True, slots=True)
class Machine:
    """What plans are made for: this machine, or another that is described."""

    gpus: tuple[Gpu, ...]
    host_total: int
    host_free: int
    """bytes that can be taken without swapping"""
    cores: int
    """physical ones that this process may use"""
    instruction_sets: frozenset[str]
    host_bandwidth: float
    """bytes/s that all cores together read"""
    disk_bandwidth: float | None = None
    """bytes/s; measured only where weights would have to stream"""

    def core_rate(self, rates: Mapping[str, float]) -> float:
        """Of `rates` by instruction set, the best first, that of the best set here."""
        return next((rate for name, rate in rates.items() if name in self.instruction_sets), min(rates.values()) / 4)


def this_machine(measured: bool = True) -> Machine:
    """What is free and how fast it is now; without being `measured`, which takes .3 s, host memory counts as slow."""
    total, free = host_memory()
    cores = physical_cores()
    return Machine(
        gpus=tuple(visible_gpus()),
        host_total=total,
        host_free=free,
        cores=cores,
        instruction_sets=_instruction_sets(),
        host_bandwidth=_copy_rate(cores) if measured else _SLOW_HOST,
    )


def gpu(name: str, total: int, free: int) -> Gpu:
    """A GPU by its driver's name, with the rates that are known of it."""
    rates = next((one[1:] for one in _GPU_RATES if one[0] in name), _UNKNOWN_GPU)
    return Gpu(name, total, free, *rates)


def host_memory() -> tuple[int, int]:
    """Bytes in all and available, within the limit of the control group that this process is in."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = total
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) << 10
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        total, free = min(total, int(limit)), min(free, int(limit) - int(used))
    return total, max(free, 0)


def physical_cores() -> int:
    """Cores, each counted once whatever it calls threads, among those that this process may use."""
    mine = os.sched_getaffinity(0)
    siblings = {_read(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list") for number in mine}
    siblings.discard("")
    return len(siblings) or len(mine)


def visible_gpus() -> list[Gpu]:
    """As the driver tells, those that CUDA_VISIBLE_DEVICES leaves; none without its nvidia-smi."""
    asked = "--query-gpu=index,uuid,name,memory.total,memory.free"
    try:
        said = subprocess.run(
            ["nvidia-smi", asked, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in said.stdout.splitlines()]
    rows = [row for row in rows if len(row) == 5 and row[3].isdigit() and row[4].isdigit()]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        wanted = [one.strip() for one in chosen.split(",") if one.strip()]
        rows = [row for one in wanted for row in rows if one == row[0] or row[1].startswith(one)]
    return [gpu(name, int(total) << 20, int(free) << 20) for _, _, name, total, free in rows]


def disk_rate(file: Path) -> float:
    """bytes/s at which pieces spread over `file` are read, past what the system remembers of it.

    :raises OSError: it cannot be read.
    """
    piece, pieces = 4 << 20, 12
    size = file.stat().st_size
    step = max(size // pieces, 1)
    with file.open("rb", buffering=0) as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started, read = time.perf_counter(), 0
        buffer = mmap.mmap(-1, piece)
        for number in range(pieces):
            stream.seek(number * step)
            read += stream.readinto(buffer) or 0
        seconds = time.perf_counter() - started
        buffer.close()
    return read / max(seconds, 1e-6)


def _copy_rate(cores: int) -> float:
    """bytes/s that all cores together read and write in a copy; the best of six, as the first takes its memory."""
    threads = min(cores, 16)
    sources = [np.ones(_TRIED // 8) for _ in range(threads)]
    targets = [np.empty_like(one) for one in sources]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(6):
            started = time.perf_counter()
            list(pool.map(np.copyto, targets, sources))
            best = min(best, time.perf_counter() - started)
    return 2 * threads * _TRIED / best


def _instruction_sets() -> frozenset[str]:
    words = set(_read("/proc/cpuinfo").split())
    return frozenset(name for name in _SETS if name in words)


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
