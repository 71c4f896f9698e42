"""How much memory a process takes, and which process of a profile holds the model."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from app.answer import Profile


def main_memory() -> int | None:
    """Bytes of main memory of this process (proc(5), statm); None where the system does not say."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def gpu_memory() -> int:
    """Bytes that torch has taken of this process's GPUs; what llama.cpp takes it does not know."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return sum(torch.cuda.memory_reserved(device) for device in range(torch.cuda.device_count()))


def held(profile: Profile) -> tuple[int | None, int]:
    """Bytes of main memory and of GPUs that the profile's model takes, in its resident or in this process."""
    from app.resident.client import status
    from app.resident.place import Place

    found = status(Place.of(profile))
    if found is None:
        return main_memory(), gpu_memory()
    return found["memory_bytes"], found.get("gpu_bytes", 0)
