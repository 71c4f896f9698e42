"""Host memory that a GPU reads on its own, and copies from it beside what is computed. On a CPU both are plain."""

import weakref
from collections.abc import Iterable

import torch
from torch import Tensor

from model.errors import NotEnoughMemory


def host_empty(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An uninitialised tensor in host memory; where `device` is a GPU, in pages that stay where they are.

    Registered here, since torch's own allocator of pinned memory rounds sizes up to powers of two.

    :raises NotEnoughMemory: the system does not let so much be pinned.
    """
    tensor = torch.empty(shape, dtype=dtype, device="cpu")
    if device.type == "cuda" and tensor.nbytes:
        runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if int(runtime.cudaHostRegister(tensor.data_ptr(), tensor.nbytes, 0)):
            raise NotEnoughMemory(
                f"{tensor.nbytes / (1 << 30):.1f} GiB of host memory for experts cannot be pinned.",
                "Raise experts_gib, so that less is kept there, or the system's limit on locked memory (ulimit -l).",
            )
        ending = weakref.finalize(tensor.untyped_storage(), runtime.cudaHostUnregister, tensor.data_ptr())
        ending.atexit = False  # CUDA may be gone by then, and takes the pages along
    return tensor


class CopyStream:
    """Copies to a device; what was computed there before a copy begins is not disturbed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def start(self, copies: Iterable[tuple[Tensor, Tensor]]) -> torch.cuda.Event | None:
        """Copy sources into targets (target, source), after all that was computed so far."""
        if self._stream is None:
            for target, source in copies:
                target.copy_(source)
            return None
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for target, source in copies:
                target.copy_(source, non_blocking=True)
            event: torch.cuda.Event = self._stream.record_event()
        return event

    def finish(self, started: torch.cuda.Event | None) -> None:
        """What is computed from here on comes after the copies."""
        if started is not None:
            torch.cuda.current_stream(self._device).wait_event(started)
