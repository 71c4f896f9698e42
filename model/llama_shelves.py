"""Shelves of a GGUF model: the same folder, budget and manifests as the torch engine's, over llama.cpp's saved states.

torch is loaded when there is something to find or to keep, not before.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import BadCheckpoint, ModelError, NotEnoughSpace
from model.llama_native import NativeModel

if TYPE_CHECKING:
    from model.sequence import TokenSequence
    from model.shelves import Shelves

_WORTH = 64
"""Tokens beyond those in the cache from which a file is read."""


class LlamaShelves:
    """What one GGUF model read, kept in `folder`; `identity` names the model and the form of its cache."""

    def __init__(self, folder: Path, gib: float, identity: str, token_bytes: int) -> None:
        self._folder, self._budget, self._identity = folder, int(gib * (1 << 30)), identity
        self._token_bytes = token_bytes

    def find(self, tokens: Sequence[int]) -> int:
        """Tokens at the beginning of `tokens` that a shelf has."""
        if not self._any():
            return 0
        found = self._shelves().find(self._sequence(tokens))
        return 0 if found is None else found[1]

    def restore(self, tokens: Sequence[int], known: int, native: NativeModel) -> list[int] | None:
        """Load the shelf that shares more than the first `known` of `tokens`; the tokens then in the cache.

        None where there is none. One that is damaged is removed.
        """
        if not self._any():
            return None
        shelves = self._shelves()
        found = shelves.find(self._sequence(tokens))
        if found is None or found[1] - known < _WORTH:
            return None
        shelf, common = found
        try:
            saved = native.load_state(shelves.data(shelf.key))
            if saved[:common] != list(tokens[:common]):
                raise BadCheckpoint(f"{shelves.data(shelf.key)} holds other tokens than its manifest says.")
        except BadCheckpoint:
            native.rewind(0)
            with suppress(ModelError):  # a folder that cannot be written keeps nobody from reading the prompt
                shelves.remove(shelf.key)
            return []
        shelves.touch(shelf)
        return saved[: native.rewind(common)]

    def keep(self, tokens: Sequence[int], label: str, native: NativeModel, pinned: bool = False) -> None:
        """Write the state of `tokens`, all of which `native` has read.

        :raises NotEnoughSpace: the disk budget has no room for it.
        :raises ModelError: it cannot be written.
        """
        sequence = self._sequence(tokens)
        sequence.held = len(tokens)

        def write(file: Path) -> int:
            unfinished = file.with_name(f"{file.name}.part")
            try:
                native.save_state(tokens, unfinished)
                unfinished.replace(file)
            finally:
                unfinished.unlink(missing_ok=True)
            return file.stat().st_size

        size = len(tokens) * (self._token_bytes + 4)
        if self._shelves().keep(sequence, label, pinned, size, write) is None and pinned:
            raise NotEnoughSpace(
                f"The shelves have no room for {label} ({len(tokens)} tokens).",
                "Unpin something, or raise model.shelf_gib.",
            )

    def discard(self, label: str) -> bool:
        return self._any() and self._shelves().discard(label)

    def _any(self) -> bool:
        return any(self._folder.glob("*.json"))

    def _shelves(self) -> "Shelves":
        from model.shelves import Shelves  # torch, 2 s

        return Shelves(self._folder, self._budget, self._identity)

    def _sequence(self, tokens: Sequence[int]) -> "TokenSequence":
        from model.sequence import TokenSequence

        return TokenSequence(list(tokens), hashlib.sha256(self._identity.encode()).digest())
