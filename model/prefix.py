"""Files that hold the state after reading a prompt: its tokens and their part of the cache, tied to one model.

The layout is that of safetensors: `tokens` int32 [T] and `rows` [L, T, C] as the cache stores them, with checksums of
the rows by layer and block. Rows are read by several threads straight from their place in the file, so that a disk is
kept busy, and a part at the beginning can be read alone.
"""

import json
import os
import zlib
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from model.cache import PAGE, LatentCache
from model.errors import BadCheckpoint, ModelError, why

_FORMAT = "loci-prefix-3"
_BLOCK = 4096
"""Tokens with a checksum of their own."""
_THREADS = 4
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}
_MEND = "Save the prefix again."


@dataclass(frozen=True, slots=True)
class PrefixFile:
    """The head of such a file, checked against the model that is to use it."""

    file: Path
    tokens: list[int]
    layers: int
    row: int
    """bytes of one token of one layer"""
    start: int
    """where the rows begin"""
    checksums: list[int]
    """CRC-32 of each block, layer after layer"""


def write_prefix(file: Path, identity: str, tokens: list[int], cache: LatentCache, pages: Sequence[int]) -> int:
    """Write `tokens`, which `pages` hold, atomically, and return the bytes; `identity` names the model."""
    partial = file.with_name(f"{file.name}.{uuid4().hex}.part")
    checksums = [0] * (cache.storage.shape[0] * -(-len(tokens) // _BLOCK))
    try:
        with partial.open("wb") as out:
            out.write(_head(identity, tokens, cache, checksums))
            out.write(array("i", tokens).tobytes())
            for number, block in enumerate(_blocks(cache, pages, len(tokens))):
                checksums[number] = zlib.crc32(block)
                out.write(block)
            out.seek(0)
            out.write(_head(identity, tokens, cache, checksums))
            out.flush()
            os.fsync(out.fileno())
            size = out.seek(0, os.SEEK_END)
        partial.replace(file)
    except OSError as error:
        raise ModelError(
            f"{file} cannot be written: {why(error)}.", "Check that the folder can be written to and its disk has room."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return size


def open_prefix(file: Path, identity: str, cache: LatentCache) -> PrefixFile:
    """The head of `file`.

    :raises BadCheckpoint: it is missing, damaged, or was written with another model or dtype.
    """
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 0 < length < 1 << 26:
                raise BadCheckpoint(f"{file} is no saved prefix.", _MEND)
            head: Any = json.loads(opened.read(length))
            size = opened.seek(0, os.SEEK_END)
            about = head["__metadata__"]
            if about.get("format") != _FORMAT:
                raise BadCheckpoint(f"{file} is no saved prefix.", _MEND)
            layers, count, width = head["rows"]["shape"]
            row = cache.storage.shape[-1] * cache.storage.element_size()
            if about["model"] != identity or (layers, width) != (cache.storage.shape[0], cache.storage.shape[-1]):
                raise BadCheckpoint(f"{file} was saved with another model or dtype.", _MEND)
            start = 8 + length + 4 * count
            if size != start + layers * count * row:
                raise BadCheckpoint(f"{file} is damaged: it has {size} bytes.", _MEND)
            opened.seek(8 + length)
            tokens = array("i", opened.read(4 * count)).tolist()
        if zlib.crc32(array("i", tokens).tobytes()) == int(about["tokens"], 16):
            checksums = [int(one, 16) for one in about["rows"].split()]
            if len(checksums) == layers * -(-count // _BLOCK):
                return PrefixFile(file, tokens, layers, row, start, checksums)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{file} cannot be read: {why(error)}.", _MEND) from error
    raise BadCheckpoint(f"{file} is damaged.", _MEND)


def read_prefix(prefix: PrefixFile, cache: LatentCache, pages: Sequence[int], length: int) -> None:
    """Put the first `length` tokens of `prefix` into `pages` of `cache`.

    :raises BadCheckpoint: a part of them is damaged.
    """
    count, per_layer = len(prefix.tokens), -(-len(prefix.tokens) // _BLOCK)
    pinned = cache.storage.is_cuda

    @torch.inference_mode()  # a mode of each thread
    def place(layer: int, block: int, handle: int) -> None:
        first = block * _BLOCK
        size = min(_BLOCK, count - first)
        buffer = torch.empty(size * prefix.row, dtype=torch.uint8, pin_memory=pinned)
        view = buffer.numpy().data
        at, done = prefix.start + (layer * count + first) * prefix.row, 0
        while done < len(view) and (got := os.preadv(handle, [view[done:]], at + done)):
            done += got
        if done < len(view) or zlib.crc32(view) != prefix.checksums[layer * per_layer + block]:
            raise BadCheckpoint(f"{prefix.file} is damaged at layer {layer}, token {first}.", _MEND)
        rows = buffer.view(cache.storage.dtype).view(size, -1)[: length - first]
        cache.fill(layer, pages[first // PAGE :], rows)

    try:
        with prefix.file.open("rb") as opened, ThreadPoolExecutor(_THREADS) as pool:
            jobs = [
                pool.submit(place, layer, block, opened.fileno())
                for layer in range(prefix.layers)
                for block in range(-(-length // _BLOCK))
            ]
            for job in jobs:
                job.result()
    except OSError as error:
        raise BadCheckpoint(f"{prefix.file} cannot be read: {why(error)}.", _MEND) from error


def _head(identity: str, tokens: list[int], cache: LatentCache, checksums: list[int]) -> bytes:
    """Of the same length whatever the checksums are: it is written twice."""
    layers, width = cache.storage.shape[0], cache.storage.shape[-1]
    end = 4 * len(tokens)
    metadata = {
        "format": _FORMAT,
        "model": identity,
        "tokens": f"{zlib.crc32(array('i', tokens).tobytes()):08x}",
        "rows": " ".join(f"{one:08x}" for one in checksums),
    }
    rows = {
        "dtype": _NAMES[cache.storage.dtype],
        "shape": [layers, len(tokens), width],
        "data_offsets": [end, end + layers * len(tokens) * width * cache.storage.element_size()],
    }
    own = {"dtype": "I32", "shape": [len(tokens)], "data_offsets": [0, end]}
    text = json.dumps({"__metadata__": metadata, "tokens": own, "rows": rows}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _blocks(cache: LatentCache, pages: Sequence[int], length: int) -> Iterator[memoryview]:
    """The rows' bytes, layer after layer, in blocks."""
    for layer in range(cache.storage.shape[0]):
        for first in range(0, length, _BLOCK):
            size = min(_BLOCK, length - first)
            rows: Tensor = cache.stored(layer, pages[first // PAGE :], size).cpu().contiguous()
            yield rows.view(torch.uint8).numpy().data.cast("B")
