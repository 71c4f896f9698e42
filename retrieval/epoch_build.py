"""A new epoch of the vector index, built beside the one in use: in parts that a kill leaves, swapped in at the end.

Knows nothing about documents. What is on disk meanwhile, in the folder `next`: `plan.json` (for whom, of what kind),
`trained.faiss`, and `part-ID.faiss`, the rows up to that id. N rows, D embedding dim.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval import gpu_lists
from retrieval.digest import sha256_of
from retrieval.index_kind import PART_ROWS, TRAINED_FOR, Kind, kind_for

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

_ROUNDS = 8
"""Of k-means; recall does not gain from FAISS's 25."""

_DEAD = 0.2
"""With more deleted rows than this share, an epoch is built from nothing instead of added to."""


class VectorSource(Protocol):
    """Where the rows live."""

    def version(self) -> tuple[int, str]:
        """The epoch of the rows and its token."""
        ...

    def has_version(self, epoch: int, token: str) -> bool:
        """Whether that epoch is in this source's past, and not in that of a copy that went another way."""
        ...

    def all_ids(self) -> Ids:
        """Ids [N] of all rows, ascending."""
        ...

    def rows_after(self, id: int, limit: int | None = None) -> tuple[Ids, Vectors]:
        """Ids [N], ascending, and vectors [N, D] of the rows with a higher id, the first `limit` of them."""
        ...

    def rows_of(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Ids [N], ascending, and vectors [N, D] of those of `ids` that are still there."""
        ...


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an epoch's file holds, and for whom."""

    identity: dict[str, Any]
    version: tuple[int, str]
    factory: str
    lists: int
    trained_for: int
    """Rows of the library when the lists were trained."""
    rows: int
    highest: int
    """The highest id in it; later rows are not."""
    file: str
    sha256: str

    @property
    def kind(self) -> Kind:
        return Kind(self.factory, self.lists)


def read_manifest(folder: Path, identity: Mapping[str, Any], source: VectorSource) -> Manifest | None:
    """The manifest of the epoch in `folder`, if there is one, readable, of this identity and of this source's past."""
    try:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        manifest = Manifest(**facts | {"version": tuple(facts["version"])})
        if manifest.identity == identity and source.has_version(*manifest.version):
            return manifest
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def read_epoch(folder: Path, manifest: Manifest) -> Any | None:
    """The FAISS index that the manifest describes; None if its file is not as it was written."""
    import faiss  # 0.2 s

    file = folder / manifest.file
    try:
        if sha256_of(file) != manifest.sha256:
            return None
        return faiss.read_index(str(file))
    except (OSError, RuntimeError):
        return None


def build_epoch(
    folder: Path, source: VectorSource, dimension: int, identity: Mapping[str, Any], part_rows: int = PART_ROWS
) -> bool:
    """Index all rows of `source` in `folder` and put the result in the place of the epoch there.

    Goes on where a killed build stopped; adds to the epoch in place where its lists still suit. Searches of other
    processes see the old epoch until the swap. Return whether that was done: False where another process is building,
    or `drop_epochs` or a re-embedding came in between.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "building").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return _Build(folder, source, dimension, dict(identity), part_rows).run()


def is_building(folder: Path) -> bool:
    """Whether a process is building an epoch in `folder`."""
    if not (folder / "building").is_file():
        return False
    with (folder / "building").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def drop_epochs(folder: Path) -> None:
    """Remove the epoch in `folder` with what builders left, stopping one at work; the next search asks for another."""
    if not folder.is_dir():
        return
    (folder / "stop").touch()
    with (folder / "building").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        shutil.rmtree(folder / "next", ignore_errors=True)
        for file in (
            *folder.glob("vectors-*.faiss"),
            *folder.glob(".new-*"),
            folder / "manifest.json",
            folder / "stop",
        ):
            file.unlink(missing_ok=True)


class _Build:
    """One build under way. The holder of the lock `building` has the folder `next` to itself."""

    def __init__(
        self, folder: Path, source: VectorSource, dimension: int, identity: dict[str, Any], part_rows: int
    ) -> None:
        self._folder = folder
        self._next = folder / "next"
        self._source = source
        self._dimension = dimension
        self._identity = identity
        self._part_rows = part_rows

    def run(self) -> bool:
        import faiss  # 0.2 s

        version = begun = self._source.version()
        ids = self._source.all_ids()
        # 1. decide: add to the epoch in place, or begin anew
        old = read_manifest(self._folder, self._identity, self._source)
        base = read_epoch(self._folder, old) if old and _suits(old, ids) else None
        if old is not None and base is not None:
            kind, trained_for, start, file = old.kind, old.trained_for, old.highest, old.file
        else:
            kind, trained_for, start, file = kind_for(len(ids)), len(ids), 0, None
        plan = {"identity": self._identity, "factory": kind.factory, "base": file}
        parts = self._resume(plan)
        # 2. an index whose lists are trained
        trained = self._next / "trained.faiss"
        if base is None:
            if not trained.is_file():
                write_index(trained, self._train(kind, ids))
            base = faiss.read_index(str(trained))
        # Read once more: a clone is of another class, and does not merge.
        empty: Any = faiss.read_index(str(trained if file is None else self._folder / file))
        empty.reset()
        gpu = None if kind.exact else gpu_lists.on_gpu(empty.quantizer)
        # 3. the rows, in parts that are saved
        highest = max([start, *parts])
        while not (self._folder / "stop").exists():
            part_ids, vectors = self._source.rows_after(highest, self._part_rows)
            version = self._source.version()
            if not self._source.has_version(*begun):
                break
            if not len(part_ids):
                # 4. one index of all
                for last in parts:
                    base.merge_from(faiss.read_index(str(self._part(last))), 0)
                self._swap(base, kind, trained_for, version, highest)
                return True
            gpu_lists.add(empty, gpu, vectors, part_ids)
            highest = int(part_ids[-1])
            write_index(self._part(highest), empty)
            empty.reset()
            parts.append(highest)
            self._record(plan, version, parts)
        shutil.rmtree(self._next)
        return False

    def _part(self, highest: int) -> Path:
        return self._next / f"part-{highest}.faiss"

    def _resume(self, plan: dict[str, Any]) -> list[int]:
        """The parts that a build with the same plan left, by their highest ids; others' leavings are removed."""
        try:
            left = json.loads((self._next / "plan.json").read_text(encoding="utf-8"))
            if left["plan"] == plan and self._source.has_version(*left["version"]):
                return [int(part) for part in left["parts"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        shutil.rmtree(self._next, ignore_errors=True)
        self._next.mkdir()
        self._record(plan, self._source.version(), [])
        return []

    def _record(self, plan: dict[str, Any], version: tuple[int, str], parts: list[int]) -> None:
        # After the rows were read, so that a source that has this version in its past has those rows.
        left = {"plan": plan, "version": list(version), "parts": parts}
        write_whole(self._next / "plan.json", json.dumps(left).encode())

    def _train(self, kind: Kind, ids: Ids) -> Any:
        import faiss

        index: Any = faiss.index_factory(self._dimension, kind.factory, faiss.METRIC_INNER_PRODUCT)
        if not kind.exact:
            index.cp.niter = _ROUNDS
            index.cp.min_points_per_centroid = 1  # `Kind.samples` decided; FAISS warns on stderr below 39
            # A fixed seed: the same rows make the same epoch.
            sample = np.random.default_rng(0).choice(ids, min(kind.samples, len(ids)), replace=False)
            gpu_lists.train(index, self._source.rows_of(np.sort(sample))[1])
        return index

    def _swap(self, index: Any, kind: Kind, trained_for: int, version: tuple[int, str], highest: int) -> None:
        name = f"vectors-{version[0]}-{version[1]}.faiss"
        digest = write_index(self._folder / name, index)
        manifest = Manifest(
            self._identity, version, kind.factory, kind.lists, trained_for, index.ntotal, highest, name, digest
        )
        write_whole(self._folder / "manifest.json", json.dumps(asdict(manifest), indent=1).encode())
        shutil.rmtree(self._next)
        for other in (*self._folder.glob("vectors-*.faiss"), *self._folder.glob(".new-*")):
            if other.name != name:
                other.unlink(missing_ok=True)


def _suits(old: Manifest, ids: Ids) -> bool:
    """Whether an epoch may be added to instead of made anew for the rows `ids`."""
    dead = old.rows - int(np.searchsorted(ids, old.highest, side="right"))
    trained = old.kind.exact or len(ids) <= TRAINED_FOR * old.trained_for
    return trained and old.kind.exact == kind_for(len(ids)).exact and dead <= _DEAD * old.rows


def write_index(file: Path, index: Any) -> str:
    """Put a FAISS index at `file`, whole or not at all; return its SHA-256. It is never in memory a second time."""
    import faiss

    with _replaced(file) as new:
        faiss.write_index(index, str(new))
        return sha256_of(new)


def write_whole(file: Path, content: bytes) -> None:
    """Put `content` at `file`, whole or not at all."""
    with _replaced(file) as new:
        new.write_bytes(content)


@contextmanager
def _replaced(file: Path) -> Iterator[Path]:
    """A path to write at, whose content stands at `file` and on the disk once the block ends without an error."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    try:
        yield Path(name)
        os.fsync(descriptor)  # the file's, whoever wrote it
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
