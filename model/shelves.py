"""Beginnings of prompts whose part of the cache is kept on disk: documents and sessions that need no prefill again.

A shelf is a file of prefix.py and a manifest beside it: which model, the hashes of its pages, and how often it was of
use. Where the disk budget ends, the shelves of least expected use go. Several processes may share the folder: files
appear whole or not at all, and one that another process took away is one that was never there.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from model.blocks import Blocks
from model.cache import PAGE, LatentCache
from model.errors import BadCheckpoint, ModelError, why
from model.files import is_number
from model.prefix import open_prefix, write_prefix
from model.runner import Runner
from model.sequence import TokenSequence, chain

_HALF_LIFE = 14 * 86400.0
"""Seconds after which a use counts half."""
_MEND = "Check that the cache folder, which `loci doctor` names, can be written to and its disk has room."
_ABANDONED = 3600.0
"""Seconds after which a part of a file, or data and manifest without the other, were left by a killed process."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The manifest."""

    key: str
    model: str
    label: str
    """what it is of, for people"""
    tokens: int
    bytes: int
    pages: tuple[str, ...]
    """chained hashes of the full pages"""
    tail: tuple[int, ...]
    """the tokens after these"""
    uses: float
    """decayed to `used`"""
    used: float
    """seconds since the epoch, UTC"""
    pinned: bool
    """kept until it is asked to go"""

    def worth(self, now: float) -> float:
        """Expected tokens of prefill saved per byte of disk: uses fade with time."""
        return self.faded(now) * self.tokens / max(self.bytes, 1)

    def faded(self, now: float) -> float:
        """Uses, of which one counts half after the half-life."""
        return self.uses * math.pow(0.5, max(now - self.used, 0.0) / _HALF_LIFE)


class Shelves:
    """The shelves in `folder` that are of the model `identity`, among those of others."""

    def __init__(self, folder: Path, budget: int, identity: str = "", now: Callable[[], float] = time.time) -> None:
        """`budget`: bytes that all shelves together may take."""
        self.folder, self.budget, self.identity, self._now = folder, budget, identity, now

    def all(self) -> list[Shelf]:
        """Those of every model, most worth first."""
        found = [shelf for file in self._manifests() if (shelf := _read_manifest(file)) is not None]
        return sorted(found, key=lambda one: one.worth(self._now()), reverse=True)

    def find(self, sequence: TokenSequence) -> tuple[Shelf, int] | None:
        """The shelf that shares the longest beginning with `sequence`, and its tokens."""
        best: tuple[Shelf, int] | None = None
        for shelf in self.all():
            if shelf.model == self.identity:
                common = _common(shelf, sequence)
                if common and (best is None or common > best[1]):
                    best = shelf, common
        return best

    def restore(self, shelf: Shelf, sequence: TokenSequence, common: int, blocks: Blocks, runner: Runner) -> bool:
        """Read the first `common` tokens into pages, where prompts find them; False where that cannot be done.

        A shelf that is damaged, or not what its manifest says, is removed.
        """
        own = TokenSequence(sequence.tokens[:common], sequence.root, followed=sequence.followed)
        if not blocks.grow(own, common):
            return False
        try:
            prefix = open_prefix(self.data(shelf.key), self.identity, runner.cache)
            if prefix.tokens[:common] != own.tokens:
                raise BadCheckpoint(f"{prefix.file} holds other tokens than its manifest says.")
            runner.restore(prefix, own.pages, common)
        except BadCheckpoint:
            blocks.close(own)
            with suppress(ModelError):  # a folder that cannot be written keeps nobody from reading the prompt
                self.remove(shelf.key)
            return False
        own.held = common
        if own.followed is not None:
            own.followed = common - 1
        blocks.close(own)
        self.touch(shelf)
        return True

    def store(self, sequence: TokenSequence, cache: LatentCache, label: str, pinned: bool = False) -> Shelf | None:
        """As `keep`, of what `sequence` holds in the torch engine's cache."""
        tokens = sequence.tokens[: sequence.held]
        size = len(tokens) * (cache.storage[:, 0, 0].numel() * cache.storage.element_size() + 4)
        return self.keep(
            sequence, label, pinned, size, lambda file: write_prefix(file, self.identity, tokens, cache, sequence.pages)
        )

    def keep(
        self, sequence: TokenSequence, label: str, pinned: bool, size: int, write: Callable[[Path], int]
    ) -> Shelf | None:
        """Keep what `sequence` holds; the shelf that has it, or None where the budget has no room for one.

        `write` puts about `size` bytes into the file that it is given, whole or not at all, and returns how many. What
        was pinned under `label` before goes, of any model: it may hold what is not to be kept any more.

        :raises ModelError: it cannot be written.
        """
        tokens = sequence.tokens[: sequence.held]
        full = len(tokens) // PAGE
        tail = tuple(tokens[full * PAGE :])
        key = chain(sequence.digest(full), tail).hex()
        found = self.all()
        mine = [shelf for shelf in found if shelf.model == self.identity]
        for older in found:
            if pinned and older.label == label and older.key != key:
                self.remove(older.key)
        for shelf in mine:
            if shelf.key == key or (not pinned and _common(shelf, sequence) >= len(tokens)):
                return self._pin(shelf, label) if pinned and not shelf.pinned else shelf
        if not self._make_room(size):
            return None
        _private(self.folder)
        written = write(self.data(key))
        pages = tuple(sequence.digest(n + 1).hex() for n in range(full))
        shelf = Shelf(key, self.identity, label, len(tokens), written, pages, tail, 1.0, self._now(), pinned)
        self._write(shelf)
        # A session that went on makes its earlier state superfluous.
        for older in mine:
            if not older.pinned and older.tokens < len(tokens) and _common(older, sequence) == older.tokens:
                self.remove(older.key)
        return shelf

    def discard(self, label: str) -> bool:
        """Remove what was kept under `label`, of every model; whether there was anything."""
        going = [shelf for shelf in self.all() if shelf.label == label]
        for shelf in going:
            self.remove(shelf.key)
        return bool(going)

    def remove(self, key: str) -> None:
        """:raises ModelError: the folder cannot be written."""
        try:
            self._manifest(key).unlink(missing_ok=True)
            self.data(key).unlink(missing_ok=True)
        except OSError as error:
            raise ModelError(
                f"A shelf cannot be removed: {why(error)}.", f"Mend that, or remove the folder {self.folder}."
            ) from error

    def _pin(self, shelf: Shelf, label: str) -> Shelf:
        pinned = replace(shelf, pinned=True, label=label)
        self._write(pinned)
        return pinned

    def _make_room(self, size: int) -> bool:
        """Give up the shelves of least worth until `size` more bytes are within the budget."""
        self._sweep()
        kept = self.all()
        total = sum(shelf.bytes for shelf in kept)
        going = [shelf for shelf in kept if not shelf.pinned]
        if total - sum(shelf.bytes for shelf in going) + size > self.budget:
            return False
        while total + size > self.budget:
            last = going.pop()
            self.remove(last.key)
            total -= last.bytes
        return True

    def _sweep(self) -> None:
        """Remove what processes that were killed left."""
        if not self.folder.is_dir():
            return
        for file in self.folder.iterdir():
            known = file.suffix in (".json", ".safetensors") and _read_manifest(file.with_suffix(".json")) is not None
            try:
                if not known and self._now() - file.stat().st_mtime > _ABANDONED:
                    file.unlink()
            except OSError:
                continue  # another process was faster, or it is none of ours

    def touch(self, shelf: Shelf) -> None:
        """It was of use."""
        now = self._now()
        try:
            self._write(replace(shelf, uses=shelf.faded(now) + 1.0, used=now))
        except ModelError:  # a full or read-only disk: it was of use all the same
            return

    def _write(self, shelf: Shelf) -> None:
        partial = self.folder / f"{shelf.key}.{uuid4().hex}.part"
        try:
            with partial.open("w", encoding="utf-8") as out:
                json.dump(asdict(shelf), out)
                out.flush()
                os.fsync(out.fileno())
            partial.replace(self._manifest(shelf.key))
        except OSError as error:
            raise ModelError(f"{self._manifest(shelf.key)} cannot be written: {why(error)}.", _MEND) from error
        finally:
            partial.unlink(missing_ok=True)

    def _manifests(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from sorted(self.folder.glob("*.json"))

    def _manifest(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def data(self, key: str) -> Path:
        """The file of a shelf; a GGUF model's holds llama.cpp's own form under the same name."""
        return self.folder / f"{key}.safetensors"


def _read_manifest(file: Path) -> Shelf | None:
    """None where it is damaged, of another version, or has no data: the shelf counts as absent."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        size = file.with_suffix(".safetensors").stat().st_size  # what the budget counts is what the disk says
        shelf = Shelf(**values | {"pages": tuple(values["pages"]), "tail": tuple(values["tail"]), "bytes": size})
        whole = all(is_number(one) for one in (shelf.tokens, shelf.uses, shelf.used)) and shelf.tokens > 0
        return shelf if whole and shelf.key == file.stem else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _common(shelf: Shelf, sequence: TokenSequence) -> int:
    """Tokens at the beginning of `sequence` that are those of `shelf`."""
    most = min(len(shelf.pages), len(sequence.tokens) // PAGE)
    full = next((n for n in range(most) if sequence.digest(n + 1).hex() != shelf.pages[n]), most)
    if full < len(shelf.pages):
        return full * PAGE
    after = sequence.tokens[full * PAGE : full * PAGE + len(shelf.tail)]
    same = next((n for n, token in enumerate(after) if token != shelf.tail[n]), len(after))
    return full * PAGE + same


def _private(folder: Path) -> None:
    """What was read is the user's alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ModelError(f"{folder} cannot be made: {why(error)}.", _MEND) from error
