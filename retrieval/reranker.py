"""A second, slower look at the best passages: a model that reads the query and a passage together. Off unless named.

The scheme is that of Nogueira and Cho, "Passage Re-ranking with BERT" (2019). Knows no database.

N texts.
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import RerankerNotFound
from retrieval.hub import downloaded
from retrieval.types import Passage

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_MEND = "Name a sentence-transformers cross-encoder, or leave retrieval.reranker empty."


class Reranker(Protocol):
    """What judges passages one by one against a query."""

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """How well each text answers `query`: [N], within [0, 1]."""
        ...


class SecondLook:
    """The reranker that the settings name, opened when it is needed first; without one, all stays as it was found."""

    def __init__(self, reference: str, most: int) -> None:
        """`most` passages at most are read for one search."""
        self._reference, self._most = reference, most

    def depth(self, limit: int) -> int:
        """Passages to find where `limit` are wanted."""
        return max(limit, self._most) if self._reference else limit

    def order(self, query: str, found: Sequence[Passage]) -> list[Passage]:
        """`found` with its first ones in the reranker's order and with its scores; those it did not read stay behind.

        :raises RerankerNotFound: as `load_reranker`.
        """
        if not self._reference:
            return list(found)
        read = found[: self._most]
        scores = self._reranker.score(query, [one.text for one in read])
        anew = [replace(one, score=float(score)) for one, score in zip(read, scores, strict=True)]
        return sorted(anew, key=lambda one: -one.score) + list(found[self._most :])

    def check(self) -> None:
        """Open the reranker, if one is named, and have it read.

        :raises RerankerNotFound: as `load_reranker`.
        """
        if self._reference:
            self._reranker.score("one question", ["one sentence"])

    @cached_property
    def _reranker(self) -> Reranker:
        return load_reranker(self._reference)


def load_reranker(reference: str) -> Reranker:
    """Open the cross-encoder at `reference`, a folder or the name of a model already downloaded.

    Uses no network. torch and the weights are loaded by the first `score`.

    :raises RerankerNotFound: the reference names nothing on this machine, or another kind of model.
    """
    folder = Path(reference).expanduser()
    if not folder.is_dir():
        found = downloaded(reference)
        if found is None:
            raise RerankerNotFound(f"There is no reranker {reference!r} on this machine.", _MEND)
        folder = found
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RerankerNotFound(f"{folder} is no model: its config.json is missing or broken.", _MEND) from error
    if not _judges_pairs(config):
        raise RerankerNotFound(
            f"{folder} is not a cross-encoder: it must be a model for sequence classification with one label.", _MEND
        )
    return PairReranker(folder)


def _judges_pairs(config: Any) -> bool:
    """Whether a model's config.json is that of a classifier with a single score."""
    if not isinstance(config, dict):
        return False
    kinds = config.get("architectures") or []
    labels = len(config.get("id2label") or ()) or config.get("num_labels", 2)  # two where the file does not say
    return any(str(kind).endswith("ForSequenceClassification") for kind in kinds) and labels == 1


class PairReranker:
    """A sentence-transformers cross-encoder on the CPU or, where there is one, the GPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reading = threading.Lock()

    def score(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `Reranker.score`; what is longer than the model's window is read up to there.

        :raises RerankerNotFound: the weights or the tokenizer cannot be read.
        """
        if not texts:
            return np.zeros(0, dtype=np.float32)
        with self._reading:  # the tokenizer of the library is not for two threads, and the model is loaded once
            from torch.nn import Sigmoid

            scores = self._model.predict(
                [(query, text) for text in texts], activation_fn=Sigmoid(), show_progress_bar=False
            )
        return np.asarray(scores, dtype=np.float32)

    @cached_property
    def _model(self) -> "CrossEncoder":
        from sentence_transformers import CrossEncoder  # 4 to 8 s with torch, on the first search
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped there
        try:
            model: CrossEncoder = CrossEncoder(str(self.folder), local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:  # of the library, on the user's files
            raise RerankerNotFound(
                f"The cross-encoder in {self.folder} cannot be read: {type(error).__name__}: {error}.", _MEND
            ) from error
        return model
