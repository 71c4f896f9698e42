"""The wire to the Hugging Face Hub: references, listings, resumable and verified files, and refusals in words.

huggingface-hub gives the endpoint, the token and the cache's place. Files are fetched here, since its own download
begins a file anew after the process was killed. Knows nothing about which files a model needs.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from model.errors import PullFailed, UnknownModel

if TYPE_CHECKING:
    import httpx

_TRIES = 5
"""Tries in a row that bring no byte before a transfer is given up."""
_PIECE = 1 << 20
_PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class HubReference:
    """What `hf:ORG/NAME[:QUANT][@REV]` names."""

    repository: str
    quantization: str | None = None
    revision: str | None = None
    """A branch, a tag or a commit; None is the default branch."""

    def __str__(self) -> str:
        quantization = f":{self.quantization}" if self.quantization else ""
        return f"hf:{self.repository}{quantization}" + (f"@{self.revision}" if self.revision else "")


def parse_reference(text: str) -> HubReference:
    """:raises UnknownModel: it is not of that form."""
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+?)(?::([\w.-]+))?(?:@([\w./-]+))?", text)
    if match is None:
        raise UnknownModel(f"{text!r} is not of the form hf:ORG/NAME, hf:ORG/NAME:QUANT or either with @REVISION.")
    found = HubReference(*match.groups())
    if found.revision is not None and not _stays_within(found.revision):  # it names a file of the cache, too
        raise UnknownModel(f"{found.revision!r} is no revision.", "Give a branch, a tag or a commit.")
    return found


def of_quantization(name: str, quantization: str) -> bool:
    """Whether the GGUF file `name` (a path in its repository) is of that quantisation: `Q4_K` is not `Q4_K_M`."""
    wanted = rf"(?<![A-Za-z0-9]){re.escape(quantization)}(?![A-Za-z0-9_])"
    return name.endswith(".gguf") and re.search(wanted, name, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository at a commit."""

    name: str
    size: int
    blob: str
    """Its name in the cache: the SHA-256 of a large file, git's SHA-1 of a small one."""

    def digest(self) -> Any:
        """A running hash that ends as `blob`."""
        if len(self.blob) == 64:
            return hashlib.sha256()
        return hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)


class Hub:
    """A connection to the Hub that the environment names."""

    def __init__(self) -> None:
        """:raises PullFailed: the environment forbids the network, or its token cannot be sent."""
        import httpx  # 60 ms
        from huggingface_hub import constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise PullFailed("HF_HUB_OFFLINE forbids the network.", "Unset it (and TRANSFORMERS_OFFLINE) to pull.")
        self.endpoint: str = constants.ENDPOINT
        token = get_token()
        self._has_token = token is not None
        if token is not None and not (token.isascii() and token.isprintable()):
            raise PullFailed("The token in HF_TOKEN or of `hf auth login` is none.", "Copy it again from the Hub.")
        # Ranges must count the file's own bytes. httpx keeps the token from other hosts that it is redirected to.
        self._http = httpx.Client(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {}),
            follow_redirects=True,
            timeout=httpx.Timeout(30.0, connect=10.0),
        )

    def close(self) -> None:
        self._http.close()

    def listing(self, repository: str, revision: str | None) -> tuple[str, list[HubFile]]:
        """The commit that `revision` names, and its files.

        :raises UnknownModel: there is no such repository or revision.
        :raises PullFailed: it is gated, or the Hub cannot be reached or understood.
        """
        pinned = f"/revision/{quote(revision, safe='')}" if revision else ""
        url = f"{self.endpoint}/api/models/{repository}{pinned}"
        with self._words(repository, revision):
            response = self._http.get(url, params={"blobs": "true"})
            self._refuse(response, repository, revision)
        try:
            described = response.json()
            commit = str(described["sha"])
            if re.fullmatch(r"[0-9a-f]{40}", commit) is None:
                raise ValueError(f"the commit is {commit!r}")
            return commit, [_read_file(one) for one in described["siblings"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise PullFailed(f"{url} did not answer as a Hub does: {error!r}.", "Check HF_ENDPOINT.") from error

    def fetch(self, repository: str, commit: str, file: HubFile, partial: Path, arrived: Callable[[int], None]) -> None:
        """Bring `partial` to hold all of `file`, going on from the bytes it holds, and check its hash.

        `arrived` is told the bytes on disk after every piece, and may raise to stop.

        :raises PullFailed: the Hub refuses, fails again and again, or sent other bytes than it promised.
        """
        digest = file.digest()
        have = _take_up(partial, file, digest)
        arrived(have)
        tries = 0
        while have < file.size:
            before = have
            try:
                for now in self._stream(repository, commit, file, partial, digest, have):
                    have, tries = now, 0
                    arrived(have)
            except _Passing as error:
                tries += have == before
                if tries >= _TRIES:
                    raise PullFailed(
                        f"{file.name} of {repository} stopped after {have:,} of {file.size:,} bytes: {error}.",
                        "What came is kept; run the same command again.",
                    ) from error
                time.sleep(_delay(tries))
        if digest.hexdigest() != file.blob:
            partial.unlink(missing_ok=True)
            raise PullFailed(
                f"{file.name} of {repository} arrived damaged: its hash is {digest.hexdigest()}, not {file.blob}.",
                "It was removed; run the same command again.",
            )

    def _stream(
        self, repository: str, commit: str, file: HubFile, partial: Path, digest: Any, have: int
    ) -> Iterator[int]:
        """Append to `partial` what comes; yields the bytes it then holds."""
        import httpx

        url = f"{self.endpoint}/{repository}/resolve/{commit}/{quote(file.name)}"
        wanted = {"Range": f"bytes={have}-"} if have else {}
        try:
            with self._http.stream("GET", url, headers=wanted) as response:
                if response.status_code in _PASSING:
                    raise _Passing(f"the server answered {response.status_code}")
                self._refuse(response, repository, None)
                if have and response.status_code != 206:
                    partial.unlink()
                    raise PullFailed(
                        f"A server or proxy on the way sends {file.name} of {repository} only from its beginning.",
                        "What was begun is removed; run the same command again.",
                    )
                with partial.open("ab") as out:
                    for piece in response.iter_raw(_PIECE):
                        out.write(piece)
                        digest.update(piece)
                        have += len(piece)
                        if have > file.size:
                            break
                        yield have
            if have > file.size:
                partial.unlink()
                raise PullFailed(
                    f"{self.endpoint} sends more than the {file.size:,} bytes of {file.name} of {repository} that it "
                    "lists.",
                    "What came is removed; run the same command again.",
                )
        except httpx.TransportError as error:
            raise _Passing(str(error) or type(error).__name__) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:  # redirects in a circle, say
            raise PullFailed(f"{file.name} of {repository} cannot be fetched: {error}.", "Try again later.") from error
        if have != file.size:
            raise _Passing(f"it ended at {have:,} bytes")

    @contextmanager
    def _words(self, repository: str, revision: str | None) -> Iterator[None]:
        import httpx

        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PullFailed(
                f"{self.endpoint} cannot be reached: {error or type(error).__name__}.",
                "Check the network, a proxy (HTTPS_PROXY) and HF_ENDPOINT; what was fetched before is kept.",
            ) from error

    def _refuse(self, response: "httpx.Response", repository: str, revision: str | None) -> None:
        """Refusals, told apart by the Hub's own error code."""
        status, code = response.status_code, response.headers.get("X-Error-Code", "")
        if status < 400:
            return
        if code == "GatedRepo":
            raise PullFailed(
                f"{repository} is gated: its publisher lets in people who accepted the terms.",
                f"Accept them at {self.endpoint}/{repository}, then `hf auth login` or set HF_TOKEN.",
            )
        if code == "RevisionNotFound":
            raise UnknownModel(f"{repository} has no revision {revision}.", "Give a branch, a tag or a commit.")
        if status in (401, 403) and self._has_token:
            raise PullFailed(
                f"The Hub refused the token for {repository} ({status}).",
                "Check the spelling; if it is right, `hf auth login` with a token that may read it.",
            )
        if status in (401, 403, 404):  # without a token, a private repository and an absent one look the same
            raise UnknownModel(
                f"{self.endpoint} shows no model {repository} ({status}).",
                "Check the spelling; if it is private, `hf auth login` or set HF_TOKEN.",
            )
        raise PullFailed(f"{self.endpoint} answered {status} for {repository}.", "Try again later.")


class _Passing(Exception):
    """A failure of one transfer that another try may mend."""


def _delay(tries: int) -> float:
    """Seconds before the next try."""
    return min(2.0**tries / 2, 8.0)


def _read_file(described: dict[str, Any]) -> HubFile:
    name, large = str(described["rfilename"]), described.get("lfs")
    blob = large["sha256"] if large else described["blobId"]
    if not (_stays_within(name) and name.isprintable()):
        raise ValueError(f"a file is named {name!r}")
    size = int(described["size"])
    if size < 0:
        raise ValueError(f"{name} has {size} bytes")
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob) is None:
        raise ValueError(f"{name} has the hash {blob!r}")
    return HubFile(name, size, blob)


def _stays_within(name: str) -> bool:
    """Whether the path `name` leads to something below the folder that it is relative to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _take_up(partial: Path, file: HubFile, digest: Any) -> int:
    """Hash what an earlier run left, and its number of bytes; more than the file has is begun anew."""
    if not partial.exists():
        return 0
    if partial.stat().st_size > file.size:
        partial.unlink()
        return 0
    with partial.open("rb") as begun:
        while piece := begun.read(_PIECE):
            digest.update(piece)
        return begun.tell()
