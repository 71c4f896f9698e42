"""llama.cpp's C library as llama-cpp-python binds it: opened once, its log kept, what it allocates read off that.

Knows nothing about models or contexts.
"""

import ctypes
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from model.errors import MissingExtra, install_command

_WARNING, _ERROR = 3, 4
_BUFFER = re.compile(r"(\S+)\s+(model|KV|RS|compute|output) buffer size\s*=\s*([\d.]+) MiB")

_log: list[str] = []
"""Warnings and errors that llama.cpp printed since `forget`, newest last."""
_buffers: dict[tuple[str, str], int] = {}
"""Bytes of each kind that each backend allocated since `forget`."""
_callbacks: list[Any] = []
"""Keeps the log callback alive for as long as the library may call it."""


def library() -> Any:
    """The ctypes module, initialised once, its log captured.

    :raises MissingExtra: llama-cpp-python is not installed.
    """
    try:
        import llama_cpp.llama_cpp as native  # 80 ms
    except ImportError as error:
        raise MissingExtra(
            "GGUF models need llama-cpp-python, which is not installed.",
            f"{install_command('gguf')} (it is compiled; a C++ compiler is needed).",
        ) from error
    if not _callbacks:

        @native.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes makes it at run time
        def collect(level: int, text: bytes, _data: object) -> None:
            line = text.decode(errors="replace").strip()
            if level in (_WARNING, _ERROR) and len(_log) < 100:
                _log.append(line)
            elif found := _BUFFER.search(line):
                key = found[1], found[2]
                # Weights lie in several buffers of a backend; of other kinds, a later line replaces an earlier one.
                before = _buffers.get(key, 0) if found[2] == "model" else 0
                _buffers[key] = before + round(float(found[3]) * (1 << 20))

        _callbacks.append(collect)
        native.llama_log_set(collect, None)
        native.llama_backend_init()
    return native


def uses_gpus() -> bool | None:
    """Whether the library that is installed runs models on GPUs; None where none is."""
    try:
        return bool(library().llama_supports_gpu_offload())
    except MissingExtra:
        return None


def forget() -> None:
    """Begin to collect words and allocations anew."""
    _log.clear()
    _buffers.clear()


def words() -> str:
    """The last complaints since `forget`."""
    return "; ".join(_log[-3:]) or "no reason given"


def allocated() -> dict[tuple[str, str], int]:
    """Bytes by backend (`CPU`, `CUDA0`, ...) and kind (`model`, `KV`, `compute`, `output`) since `forget`."""
    return dict(_buffers)


class _Override(ctypes.Structure):
    """llama.h's llama_model_tensor_buft_override."""

    _fields_ = [("pattern", ctypes.c_char_p), ("buft", ctypes.c_void_p)]


def host_overrides(native: Any, patterns: Sequence[str]) -> Any:
    """An array for `tensor_buft_overrides`: tensors whose names a pattern matches stay in host memory.

    The caller keeps it alive until the model is loaded.
    """
    place = ctypes.CDLL(str(_beside(native, "ggml-base"))).ggml_backend_cpu_buffer_type
    place.restype = ctypes.c_void_p
    rows: Iterable[_Override] = [_Override(pattern.encode(), place()) for pattern in patterns]
    return (_Override * (len(patterns) + 1))(*rows, _Override(None, None))


def wants_plain_buffers() -> bool:
    """Whether weights must not be repacked: on AMX that aborts with quantised deepseek2 (llama.cpp#19184)."""
    try:
        return "amx" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _beside(native: Any, name: str) -> Path:
    """A library that came with the binding."""
    folder = Path(native.__file__).parent / "lib"
    return next(file for suffix in ("so", "dylib", "dll") if (file := folder / f"lib{name}.{suffix}").exists())
