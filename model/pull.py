"""Fetches a model from the Hugging Face Hub into its local cache, where `hf:` references are found.

Only what an engine reads: config.json, tokenizer and safetensors, or one GGUF quantisation; never pickles or a second
format. Files go to the cache's `blobs` under their hashes, and the snapshot that names them appears once all are there:
a pull that was cut off leaves no half model, and goes on where it stopped.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.config import from_json
from model.errors import BadCheckpoint, NotEnoughSpace, PullFailed, UnknownModel, why
from model.files import INDEX, SINGLE
from model.hub import Hub, HubFile, HubReference, of_quantization, parse_reference

Progress = Callable[[int, int, int, str], None]
"""Called with bytes that are there, bytes in all, bytes that this pull fetched, and the file that just moved."""

_MEND = "Take another revision, or tell its publisher."
_CONFIG = "config.json"
_BESIDE = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "loci.json")
_STREAMS = 4
"""Files fetched at the same time: one connection rarely fills a fast line."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is complete in the cache."""

    folder: Path
    files: tuple[str, ...]
    bytes: int
    fetched: int
    """Of those bytes, how many this pull fetched."""
    revision: str
    """The commit."""


class _Stopped(Exception):
    """Another file failed or the person interrupted."""


def pull(text: str, progress: Progress = lambda there, total, fetched, name: None) -> Pulled:
    """Fetch what `hf:ORG/NAME[:QUANT][@REV]` names; what is there already is not fetched again.

    :raises UnknownModel: there is no such model, revision or quantisation, or it has no weights of a known format.
    :raises UnsupportedArchitecture: the torch engine cannot run it; no weight was fetched.
    :raises NotEnoughSpace: the weights would not fit the disk; none was fetched.
    :raises PullFailed: the Hub refuses or fails, or the cache cannot be written.
    """
    reference = parse_reference(text)
    hub = Hub()
    try:
        commit, listed = hub.listing(reference.repository, reference.revision)
        cache = _Cache(reference.repository, commit)
        with cache.locked():
            # 1. The small files tell which large ones are needed, and whether an engine could run them at all.
            files = {file.name: file for file in listed}
            if reference.quantization is None:
                wanted = _safetensors(files, reference, hub, cache)
            else:
                wanted = _gguf(files, reference)
            # 2. Everything that is missing must fit the disk before the first weight is asked for.
            cache.check_space(wanted)
            # 3. Fetch, verify, and only then show.
            fetched = _fetch_all(wanted, hub, cache, progress)
            cache.publish(wanted, reference.revision or "main")
    except OSError as error:
        raise _disk_error(error) from error
    finally:
        hub.close()
    return Pulled(
        folder=cache.snapshot,
        files=tuple(file.name for file in wanted),
        bytes=sum(file.size for file in wanted),
        fetched=fetched,
        revision=commit,
    )


def _disk_error(error: OSError) -> NotEnoughSpace | PullFailed:
    """What the cache's disk refused, in words."""
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NotEnoughSpace(
            f"The disk of {cache} is full.",
            "Free some space, or set HF_HOME to a folder on a larger disk; what came is kept.",
        )
    return PullFailed(
        f"{cache} cannot be written: {why(error)}.", "Mend that, or set HF_HOME to a folder that you own."
    )


class _Cache:
    """One repository's part of the Hugging Face cache, laid out as huggingface-hub reads it."""

    def __init__(self, repository: str, commit: str) -> None:
        from huggingface_hub import constants

        self.repository = repository
        self.commit = commit
        self._root = Path(constants.HF_HUB_CACHE)
        self._own = f"models--{repository.replace('/', '--')}"
        self._folder = self._root / self._own
        self._blobs = self._folder / "blobs"
        self.snapshot = self._folder / "snapshots" / commit
        self._blobs.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One pull of a repository at a time; the lock dies with its process."""
        file = self._root / ".locks" / self._own / "loci-pull.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def blob(self, file: HubFile) -> Path:
        return self._blobs / file.blob

    def partial(self, file: HubFile) -> Path:
        return self._blobs / f"{file.blob}.incomplete"

    def has(self, file: HubFile) -> bool:
        """A blob gets its name when it is complete and verified, here as in huggingface-hub."""
        blob = self.blob(file)
        return blob.is_file() and blob.stat().st_size == file.size

    def there(self, file: HubFile) -> int:
        """Bytes of `file` on this disk, finished or not."""
        partial = self.partial(file)
        return file.size if self.has(file) else partial.stat().st_size if partial.is_file() else 0

    def check_space(self, files: Sequence[HubFile]) -> None:
        """:raises NotEnoughSpace: what is missing of `files` exceeds the free space."""
        missing = sum(max(file.size - self.there(file), 0) for file in files)
        free = shutil.disk_usage(self._blobs).free
        if missing > free:
            raise NotEnoughSpace(
                f"{self.repository} needs {missing / 1e9:,.1f} GB more at {self._root}; {free / 1e9:,.1f} GB are free.",
                "Free some, or set HF_HOME to a folder on a larger disk.",
            )

    def fetch(self, file: HubFile, hub: Hub, arrived: Callable[[int], None]) -> None:
        """Bring `file` into the blobs unless it is there."""
        if self.has(file):
            arrived(file.size)
            return
        partial = self.partial(file)
        hub.fetch(self.repository, self.commit, file, partial, arrived)
        if not file.size:
            partial.touch()
        partial.replace(self.blob(file))

    def publish(self, files: Sequence[HubFile], revision: str) -> None:
        """Let the snapshot name the blobs, and `revision` the snapshot."""
        for file in files:
            link = self.snapshot / file.name
            target = os.path.relpath(self.blob(file), link.parent)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not (link.is_symlink() and link.readlink() == Path(target)):
                link.unlink(missing_ok=True)
                link.symlink_to(target)
        if revision != self.commit:
            ref = self._folder / "refs" / revision
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(self.commit, "utf-8")


def _safetensors(files: dict[str, HubFile], reference: HubReference, hub: Hub, cache: _Cache) -> list[HubFile]:
    """What the torch engine reads; config.json and the index are fetched on the way."""
    if _CONFIG not in files or not (SINGLE in files or INDEX in files):
        quantizations = _quantizations(files)
        raise UnknownModel(
            f"{reference} has no config.json with safetensors weights, and nothing else is read but GGUF.",
            f"Name a GGUF quantisation: hf:{reference.repository}:{quantizations[0]} (of {', '.join(quantizations)})."
            if quantizations
            else "",
        )
    from_json(_read_json(files[_CONFIG], hub, cache), f"config.json of {reference}")
    small = [_CONFIG, *(name for name in _BESIDE if name in files)]
    if INDEX not in files:
        return [files[name] for name in (*small, SINGLE)]
    index = _read_json(files[INDEX], hub, cache).get("weight_map")
    named = list(index.values()) if isinstance(index, dict) else []
    if not named or not all(isinstance(name, str) and name.endswith(".safetensors") for name in named):
        raise BadCheckpoint(f"The index of {reference} names no safetensors files.", _MEND)
    shards = sorted(set(named))
    if absent := [name for name in shards if name not in files]:
        raise BadCheckpoint(f"The index of {reference} names files that it does not hold: {', '.join(absent)}.", _MEND)
    return [files[name] for name in (*small, INDEX, *shards)]


def _gguf(files: dict[str, HubFile], reference: HubReference) -> list[HubFile]:
    """The one file of that quantisation, or all parts of it."""
    assert reference.quantization is not None
    found = sorted(name for name in files if of_quantization(name, reference.quantization))
    if not found:
        known = _quantizations(files)
        raise UnknownModel(
            f"{reference.repository} has no GGUF file of {reference.quantization}.",
            f"It has {', '.join(known)}." if known else "It has no GGUF files at all.",
        )
    parts = re.compile(re.escape(_PART.sub("", found[0])) + r"(-\d+-of-\d+)?\.gguf")
    return [files[name] for name in found if parts.fullmatch(name)]


_PART = re.compile(r"(-\d+-of-\d+)?\.gguf$")


def _quantizations(files: dict[str, HubFile]) -> list[str]:
    """The quantisations that a repository's GGUF files are named for."""
    kind = re.compile(r"(?<![A-Za-z0-9])(I?Q\d\w*|[BF]F?(?:16|32)|MXFP4\w*)(?![A-Za-z0-9])", re.IGNORECASE)
    return sorted({found[-1] for name in files if name.endswith(".gguf") and (found := kind.findall(name))})


def _read_json(file: HubFile, hub: Hub, cache: _Cache) -> dict[str, object]:
    cache.fetch(file, hub, lambda bytes: None)
    try:
        values = json.loads(cache.blob(file).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{file.name} of {cache.repository} is not JSON: {error}.", _MEND) from error
    if not isinstance(values, dict):
        raise BadCheckpoint(f"{file.name} of {cache.repository} is not a JSON object.", _MEND)
    return values


def _fetch_all(files: Sequence[HubFile], hub: Hub, cache: _Cache, progress: Progress) -> int:
    """Fetch `files` side by side; the first failure stops the others. Returns the bytes that came over the wire."""
    at_first = {file.blob: cache.there(file) for file in files}
    here = dict(at_first)
    total = sum(file.size for file in files)
    stop, lock = threading.Event(), threading.Lock()

    def came() -> int:
        return sum(max(here[blob] - at_first[blob], 0) for blob in here)

    def one(file: HubFile) -> None:
        def arrived(bytes: int) -> None:
            if stop.is_set():
                raise _Stopped
            with lock:
                here[file.blob] = bytes
                progress(sum(here[each.blob] for each in files), total, came(), file.name)

        cache.fetch(file, hub, arrived)

    with ThreadPoolExecutor(_STREAMS) as pool:
        # Files of the same content share a blob, which must not be written twice at once.
        running = [pool.submit(one, file) for file in {file.blob: file for file in files}.values()]
        try:
            for finished in as_completed(running):
                finished.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return came()
