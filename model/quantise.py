"""Converts a checkpoint to GGUF in any of llama.cpp's usual types.

F32 and F16 are written here (gguf.py); the others are made of an F16 file by llama.cpp's own quantiser, in a process of
its own, so that it can be stopped and an abort is an error message. Rows that a K-quant does not divide keep the next
type that takes them, as llama.cpp chooses it.
"""

import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from model.config import read_config
from model.errors import ModelError, NotEnoughSpace
from model.gguf import export, gguf_tensors
from model.plan.gguf_header import read_gguf

Type = Literal[
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_0", "q4_k_m", "q4_k_s", "q4_0", "iq4_nl", "iq4_xs",
    "q3_k_l", "q3_k_m", "q3_k_s", "q2_k",
]  # fmt: skip
TYPES: tuple[str, ...] = get_args(Type)
_FTYPES = {
    "bf16": 32, "q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q5_k_s": 16, "q5_0": 8, "q4_k_m": 15, "q4_k_s": 14, "q4_0": 2,
    "iq4_nl": 25, "iq4_xs": 30, "q3_k_l": 13, "q3_k_m": 12, "q3_k_s": 11, "q2_k": 10,
}  # fmt: skip
"""llama.h's llama_ftype."""
_BITS_AT_MOST = {"bf16": 16, "q8_0": 9}
"""Bits a weight; all others take less than 7."""
_STEP = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")

Progress = Callable[[int, int, str], None]
"""Called with tensors done, tensors in all, and what is being done."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written."""

    file: Path
    bytes: int
    types: dict[str, int]
    """matrices by the type that they have"""
    bits: float
    """a weight, over the whole model"""


def convert(
    folder: Path, file: Path, type: Type, progress: Progress = lambda done, total, what: None, threads: int = 0
) -> Converted:
    """Write the checkpoint in `folder` to `file`, which appears once it is complete. `threads`: 0 takes all cores.

    :raises UnsupportedArchitecture: llama.cpp has no place for something the checkpoint has.
    :raises BadCheckpoint: files are missing, or the tokenizer is of no kind that llama.cpp knows.
    :raises MissingExtra: llama-cpp-python or gguf is not installed.
    :raises NotEnoughSpace: the disk would not hold it, or what it is made of; nothing was written.
    :raises ModelError: the quantiser failed, with its own words.
    """
    _check_space(folder, file, type)
    if type in ("f32", "f16"):
        export(folder, file, type, lambda done, total: progress(done, total, "writing"))
        return _described(file)
    wide, unfinished = (file.with_name(f"{file.name}.{part}") for part in ("f16", "part"))
    try:
        export(folder, wide, "f16", lambda done, total: progress(done, total, "writing F16"))
        _quantise(wide, unfinished, type, progress, threads)
        unfinished.replace(file)
    finally:
        wide.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    return _described(file)


def _check_space(folder: Path, file: Path, type: str) -> None:
    """:raises NotEnoughSpace: the file, and the F16 one that another type is made of, exceed what is free."""
    numbers = sum(math.prod(tensor.shape) for tensor in gguf_tensors(read_config(folder), "f16"))
    needed = 4 * numbers if type == "f32" else 2 * numbers
    if type not in ("f32", "f16"):
        needed += numbers * _BITS_AT_MOST.get(type, 7) // 8
    free = shutil.disk_usage(file.parent).free
    if needed > free:
        raise NotEnoughSpace(
            f"Writing {file} takes {needed / 1e9:,.1f} GB; {free / 1e9:,.1f} GB are free.",
            "Free some, or write to another disk.",
        )


def _quantise(source: Path, target: Path, type: str, progress: Progress, threads: int) -> None:
    from model.llama_library import library

    library()  # whether it is installed is told before anything is started
    words = [sys.executable, "-m", "model.quantise_process", str(source), str(target), str(_FTYPES[type]), str(threads)]
    said: list[str] = []
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        try:
            assert child.stdout is not None  # it is a pipe
            for line in child.stdout:
                if step := _STEP.search(line):
                    progress(int(step[1]), int(step[2]), f"to {type}")
                elif line.strip():
                    said = [*said[-4:], line.strip()]
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        reason = "; ".join(said) or f"it ended with {child.returncode}"
        if "No space left" in reason:
            raise NotEnoughSpace(f"The disk of {target.parent} is full.", "Free some space.")
        raise ModelError(f"llama.cpp cannot quantise {source.name} to {type}: {reason}.")


def _described(file: Path) -> Converted:
    header = read_gguf(file)
    matrices = Counter(one.type for one in header.tensors if len(one.shape) > 1)
    numbers = sum(one.elements for one in header.tensors)
    bits = 8 * sum(one.bytes for one in header.tensors) / max(numbers, 1)
    return Converted(file, file.stat().st_size, dict(matrices.most_common()), bits)
