"""Frames between a door and the resident, and the rows that cross as they are: one JSON object a line.

A door sends one frame, its order, and reads frames until one says `result` or `failed`; it cancels by closing. Whatever
a version changes, the order's keys `protocol`, `identity` and `op` stay, and the ops `status`, `stop`, `key`
and `forget_sessions`.
"""

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from socket import socket
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

PROTOCOL = 1

T = TypeVar("T")
Frame = dict[str, Any]


class Line:
    """A connection as frames. Reading and writing may happen in two threads, each in one."""

    def __init__(self, connection: socket) -> None:
        self.socket = connection
        self._input = connection.makefile("rb")

    def send(self, frame: Frame) -> None:
        self.socket.sendall(json.dumps(frame, separators=(",", ":")).encode() + b"\n")

    def receive(self) -> Frame | None:
        """The next frame; None where the other side has gone, be it in the middle of one."""
        try:
            line = self._input.readline()
        except ConnectionError:
            return None
        if not line.endswith(b"\n"):
            return None
        frame: Frame = json.loads(line)
        return frame

    def close(self) -> None:
        self._input.close()
        self.socket.close()


def pack(value: Any) -> Any:
    """What `unpack` makes the same value of: dataclasses as objects, sequences and sets as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: pack(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple | AbstractSet):
        return [pack(item) for item in value]
    return value


def unpack(kind: type[T], value: Any) -> T:
    """A value of the type `kind`, which is made of dataclasses, tuples, sets, options and plain values."""
    return _unpack(kind, value)  # type: ignore[no-any-return]  # a type decides at run time


def _unpack(kind: Any, value: Any) -> Any:
    if is_dataclass(kind):
        known = {field.name: field.type for field in fields(kind)}
        return kind(**{name: _unpack(known[name], item) for name, item in value.items()})  # type: ignore[operator]  # a dataclass's type can be called
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (kind,) = (one for one in inner if one is not NoneType)
        return None if value is None else _unpack(kind, value)
    if origin is tuple and inner[-1] is not ...:
        return tuple(_unpack(one, item) for one, item in zip(inner, value, strict=True))
    if origin in (tuple, list, frozenset, Sequence):
        items = (_unpack(inner[0], item) for item in value)
        return frozenset(items) if origin is frozenset else list(items) if origin is list else tuple(items)
    return value
