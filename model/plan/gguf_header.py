"""What the head of a GGUF file says: its metadata, and of each tensor name, shape and type. Reads no weights.

Format: ggml's docs/gguf.md, versions 2 and 3, little-endian. Knows nothing about what the tensors are for.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from model.errors import BadCheckpoint, why

_MAGIC = b"GGUF"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Format's type numbers of scalars -> struct's letters."""
_TEXT, _ARRAY = 8, 9
_MOST = 1 << 32
"""More elements or bytes than any header holds: a damaged file is refused instead of read to its end."""
_SHORT = 2048
"""Numbers of a list that is kept: one for each layer, at most."""

BLOCKS: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
}  # fmt: skip
"""ggml's type numbers -> name, elements of a block, bytes of a block."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """What the header says of one tensor."""

    name: str
    shape: tuple[int, ...]
    """ggml's order: the row comes first."""
    type: str
    elements: int
    bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A file's header, or those of all its parts together."""

    metadata: Mapping[str, object]
    """Scalars, texts and short lists of numbers; None for longer lists, which are the vocabulary's."""
    tensors: tuple[GgufTensor, ...]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str, default: int = 0) -> int:
        """A whole number of the architecture's own keys: `number("block_count")`; of one per layer, the largest."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple):
            value = max(value, default=None)
        return int(value) if isinstance(value, int | float) and math.isfinite(value) else default


def read_gguf(file: Path) -> GgufHeader:
    """The header of `file`; of a model split into parts, of all of them together.

    :raises BadCheckpoint: a file is missing, no GGUF file, or its header is damaged.
    """
    headers = [_read_one(part) for part in parts(file)]
    return GgufHeader(headers[0].metadata, tuple(tensor for one in headers for tensor in one.tensors))


def parts(file: Path) -> list[Path]:
    """All files of a split model, whichever is named; a model in one file is its only part.

    :raises BadCheckpoint: a part is missing.
    """
    match = re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.gguf", file.name)
    if match is None:
        return [file]
    count = int(match[2])
    found = [file.with_name(f"{match[1]}-{number:05}-of-{match[2]}.gguf") for number in range(1, count + 1)]
    if missing := [one.name for one in found if not one.is_file()]:
        raise BadCheckpoint(f"{file.parent} lacks {', '.join(missing)[:300]}.", "Finish the download.")
    return found


def _read_one(file: Path) -> GgufHeader:
    try:
        with file.open("rb") as stream:
            return _Reader(stream, file).header()
    except OSError as error:
        raise BadCheckpoint(f"{file} cannot be read: {why(error)}.", "Check the path.") from error


class _Reader:
    """Reads an open file from its beginning."""

    def __init__(self, stream: BinaryIO, file: Path) -> None:
        self._stream = stream
        self._file = file

    def header(self) -> GgufHeader:
        if self._take(4) != _MAGIC:
            raise self._damaged("it does not begin with GGUF")
        version = self._number("I")
        if version not in (2, 3):
            raise self._damaged(f"it is of version {version}, and 2 and 3 are known")
        tensors, pairs = self._number("Q"), self._number("Q")
        if max(tensors, pairs) > 1 << 20:
            raise self._damaged("it announces more than a million tensors or keys")
        metadata = {self._text(): self._value(self._number("I")) for _ in range(pairs)}
        return GgufHeader(metadata, tuple(self._tensor() for _ in range(tensors)))

    def _tensor(self) -> GgufTensor:
        name = self._text()
        dimensions = self._number("I")
        if dimensions > 4:
            raise self._damaged(f"{name} has {dimensions} dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))
        number = self._number("I")
        self._number("Q")  # where its data begins
        if number not in BLOCKS:
            raise self._damaged(f"{name} is of type {number}, which is not known here")
        kind, block, size = BLOCKS[number]
        elements = math.prod(shape)
        return GgufTensor(name, shape, kind, elements, -(-elements // block) * size)

    def _value(self, kind: int) -> object:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _ARRAY:
            raise self._damaged(f"a value is of type {kind}, which is not known")
        inner, length = self._number("I"), self._number("Q")
        if length > _MOST:
            raise self._damaged(f"a list has {length} entries")
        if inner == _ARRAY:
            raise self._damaged("a list holds lists")
        if inner in _NUMBERS and length <= _SHORT:
            return tuple(self._number(_NUMBERS[inner]) for _ in range(length))
        if inner in _NUMBERS:
            self._stream.seek(struct.calcsize(f"<{_NUMBERS[inner]}") * length, 1)
        else:
            for _ in range(length):
                self._value(inner)
        return None

    def _text(self) -> str:
        return self._take(self._number("Q")).decode("utf-8", "replace")

    def _number(self, letter: str) -> Any:
        size = struct.calcsize(f"<{letter}")
        value: Any = struct.unpack(f"<{letter}", self._take(size))[0]
        return value

    def _take(self, count: int) -> bytes:
        if count > _MOST:
            raise self._damaged(f"a text has {count} bytes")
        data = self._stream.read(count)
        if len(data) < count:
            raise self._damaged("it ends within its header")
        return data

    def _damaged(self, reason: str) -> BadCheckpoint:
        return BadCheckpoint(f"{self._file} is no GGUF file that can be read: {reason}.", "Download or copy it again.")
