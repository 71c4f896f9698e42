"""From token ids to text that is certain: whole characters, reasoning told from the answer, stop strings honoured."""

from collections.abc import Callable, Sequence

from model.engine import Delta
from model.tokenizer import END_THINK, THINK

_BROKEN = "\ufffd"
_MAX_PENDING = 16
"""Tokens held back at most for an incomplete character: none takes more than 4 bytes, the rest is damage."""


class Detokenizer:
    """Text of a growing token sequence, never half a character.

    Decoding goes through a window of recent tokens, since a token's text can depend on its neighbours.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._emitted = ""  # text of the window that was emitted already

    def push(self, token: int) -> str:
        """The text that became certain with `token`; may be empty."""
        self._window.append(token)
        text = self._decode(self._window)
        if text.endswith(_BROKEN) and len(self._window) < _MAX_PENDING:
            return ""
        new = text[len(self._emitted) :]
        if new:
            # The newest token stays in the window as context for the next one's leading space.
            self._window = self._window[-1:]
            self._emitted = self._decode(self._window)
        return new

    def flush(self) -> str:
        """What is left at the end, without an incomplete last character."""
        return self._decode(self._window)[len(self._emitted) :].rstrip(_BROKEN)


class TextStream:
    """Splits text into reasoning and answer, and ends at a stop string.

    Text that could be the beginning of a tag or of a stop string is held back until it is decided. Stop strings count
    in the answer only.
    """

    def __init__(self, stop: Sequence[str], reasoning: bool) -> None:
        self._stop = [text for text in stop if text]
        self._reasoning = reasoning
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> list[Delta]:
        """Deltas that became certain; after a stop string, `stopped` is set and the rest is dropped."""
        self._held += text
        return self._drain(final=False)

    def flush(self) -> list[Delta]:
        return self._drain(final=True)

    def _drain(self, final: bool) -> list[Delta]:
        out: list[Delta] = []
        while not self.stopped:
            marks = [END_THINK] if self._reasoning else [THINK, *self._stop]
            found = [(at, -len(mark), mark) for mark in marks if (at := self._held.find(mark)) >= 0]
            if not found:
                break
            at, _, mark = min(found)
            self._emit(out, self._held[:at])
            self._held = self._held[at + len(mark) :]
            if mark in (THINK, END_THINK) and mark not in self._stop:
                self._reasoning = mark == THINK
            else:
                self.stopped = True
        if self.stopped:
            self._held = ""
            return out
        keep = 0 if final else max(_overlap(self._held, mark) for mark in marks)
        self._emit(out, self._held[: len(self._held) - keep])
        self._held = self._held[len(self._held) - keep :]
        return out

    def _emit(self, out: list[Delta], text: str) -> None:
        if text:
            out.append(Delta(text, self._reasoning))


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that begins `mark`."""
    return next((n for n in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:n])), 0)
