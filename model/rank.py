"""A process that holds one rank's part of a model and repeats every call that rank 0 makes: `python -m model.rank`.

Started and ended by parallel.py. It ends itself within a second of rank 0, however that ended. Knows nothing about what
the calls mean.
"""

import os
import pickle
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from model.shard import Shard

BEAT = 1.0
"""Seconds between two signs of life."""

_SPIN = 0.02
"""Seconds for which a rank looks out for the next call without sleeping; several steps of a large model."""

STARTED, READY = "started", "ready"
"""What a rank says when it is imported, and when its part is built."""

_COLLECTIVE_LIMIT = timedelta(minutes=10)
"""After this, ranks that wait for one another over gloo give up; the end of a process is noticed much earlier."""


@dataclass(frozen=True, slots=True)
class Task:
    """All that a rank needs to know. Pickled, so `build` is a module's function, or a partial of one."""

    shard: "Shard"
    device: "torch.device"
    folder: Path
    """Private to these ranks: where they find one another."""
    build: "Callable[[Shard, torch.device], Any]"


def join(task: Task) -> None:
    """Meet the other ranks: NCCL on GPUs, gloo on CPUs. Returns when all have exchanged something."""
    import torch
    import torch.distributed as dist

    # The ranks of one model share a machine: nothing of theirs has to be reachable from outside.
    loopback = "lo" if sys.platform == "linux" else "lo0"
    os.environ |= {
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        # NVLink multicast fails on machines whose GPUs are lent out one by one, and decoding gains nothing from it.
        "NCCL_NVLS_ENABLE": "0",
        "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
        # By default torch ends the process, a person's session included, when it notices a lost peer.
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",
        "TORCH_NCCL_ENABLE_MONITORING": "0",
    }
    on_gpu = task.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(task.device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=dist.FileStore(str(task.folder / "ranks"), task.shard.size),  # type: ignore[attr-defined]  # exported late
        rank=task.shard.rank,
        world_size=task.shard.size,
        timeout=_COLLECTIVE_LIMIT,
        device_id=task.device if on_gpu else None,
    )
    dist.all_reduce(torch.zeros(1, device=task.device))
    if on_gpu:
        torch.cuda.synchronize()


@dataclass(frozen=True, slots=True)
class Coming:
    """Stands in a message for a tensor that rank 0 broadcasts after it."""

    shape: "torch.Size"
    dtype: "torch.dtype"

    def receive(self, device: "torch.device") -> "Tensor":
        import torch
        import torch.distributed as dist

        tensor = torch.empty(self.shape, dtype=self.dtype, device=device)
        dist.broadcast(tensor, 0)
        return tensor


def send(calls: Connection, message: Any) -> None:
    """Pickled whole: `Connection.send` would hand over tensors by file descriptors."""
    calls.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))


def receive(calls: Connection) -> Any:
    """:raises EOFError: the other side is closed."""
    return pickle.loads(calls.recv_bytes())


def main() -> None:
    """Serve rank 0 over the two sockets whose file descriptors are the arguments."""
    calls, life, folder = Connection(int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2])), sys.argv[3]
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal sends them to all: rank 0 answers
        signal.signal(ending, signal.SIG_IGN)
    threading.Thread(target=_live, args=(life, folder), daemon=True).start()
    try:
        _serve(calls)
    except (EOFError, ConnectionError):  # rank 0 closed the model, or ended: `_live` may not be as fast as this
        remove(folder)
        _end(0)
    except BaseException:  # noqa: BLE001  # whatever it is, rank 0 shows it to the person
        traceback.print_exc()
        remove(folder)  # a collective may fail since rank 0 ended, before `_live` is through
        _end(1)


def _serve(calls: Connection) -> NoReturn:
    import torch  # about 2 s

    from model.errors import ModelError

    send(calls, STARTED)
    task: Task = receive(calls)
    join(task)
    try:
        part = task.build(task.shard, task.device)
    except ModelError as error:
        send(calls, error)  # rank 0 raises it, and closes
        receive(calls)
    send(calls, READY)
    spins = task.device.type == "cuda"
    with torch.inference_mode():
        while True:
            if spins:
                _spin(calls)
            method, arguments, wanted = receive(calls)
            given = [one.receive(task.device) if isinstance(one, Coming) else one for one in arguments]
            result = getattr(part, method)(*given)
            if wanted:
                send(calls, result)


def _spin(calls: Connection) -> None:
    """Look out for the next call without sleeping: to be woken takes longer than many a kernel.

    Only for as long as calls come one after the other, and only beside GPUs: a CPU's ranks need their cores.
    """
    end = time.perf_counter() + _SPIN
    while not calls.poll(0) and time.perf_counter() < end:
        pass


def _live(life: socket.socket, folder: str) -> None:
    """Give signs of life until rank 0 is gone; then end, whatever the rank is waiting for."""
    life.settimeout(BEAT)
    while True:
        try:
            life.send(b".")
            if not life.recv(1):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    remove(folder)  # rank 0 may have had no time for it
    _end(0)


def remove(folder: str | Path) -> None:
    """Remove the ranks' meeting place; whoever still leaves it may put a file there meanwhile."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not Path(folder).exists():
            break
        time.sleep(0.05)


def _end(status: int) -> NoReturn:
    """End at once: the exit handlers of communication libraries wait for ranks that may be gone."""
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    # Under its own name, by which rank 0 names the classes here.
    from model.rank import main as imported

    imported()
