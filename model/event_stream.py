"""Server-sent events out of a byte stream, with bounds on what a server can make its client hold or wait for.

The format: WHATWG HTML, section 9.2.6. Only `data` is of use here, and every known server sends it in one line each.
"""

import time
from collections.abc import Callable, Iterable, Iterator

LONGEST = 8 << 20
"""Bytes of one line: far beyond an event with 20 log-probabilities, far below what would harm."""


class BrokenStream(Exception):
    """The stream is none, or nothing of use comes any more."""


def events(
    chunks: Iterable[bytes], patience: float, now: Callable[[], float] = time.monotonic, longest: int = LONGEST
) -> Iterator[str]:
    """The payload of each event, in order. Comments, which servers send to keep a connection, are no events.

    :raises BrokenStream: a line is longer than `longest`, or bytes come but no event for `patience` seconds.
    """
    pending = bytearray()
    heard = now()
    for chunk in chunks:
        pending += chunk
        *lines, rest = bytes(pending).replace(b"\r\n", b"\n").split(b"\n")
        pending = bytearray(rest)
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip().decode("utf-8", "replace")
                heard = now()
        if len(pending) > longest:
            raise BrokenStream(f"a line of the stream is longer than {longest} bytes")
        if now() - heard > patience:
            raise BrokenStream(f"no event within {patience:g} s")
    if pending.startswith(b"data:"):  # some servers leave out the last newline
        yield pending.removeprefix(b"data:").strip().decode("utf-8", "replace")
