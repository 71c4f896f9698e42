"""A first retention model, for profiles without a past: which sentences of a text do questions ask for?

Trained on rows of reading comprehension: `{"context": str, "start": int, "end": int}`, the answer's characters in the
context. Each context is a session, each of its sentences a memory, those that hold an answer were needed.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memory.errors import BadExamples
from memory.retention.features import HISTORY, NAMES, SENTENCE_END, against_store, content, content_words, in_context
from memory.retention.scorer import Scorer, fit

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
_SHORTEST = 3
"""Sentences of a context below which there is nothing to choose between."""
_RECENT = 2000
_STRENGTH = 50.0


def train_prior(lines: Iterable[str], embed: Embed, limit: int) -> Scorer:
    """The scorer that the first `limit` contexts with enough sentences teach.

    :raises BadExamples: a line is not such a row, or none teaches anything.
    """
    asked: dict[str, list[tuple[int, int]]] = {}
    for number, row in _rows(lines):
        try:
            asked.setdefault(str(row["context"]), []).append((int(row["start"]), int(row["end"])))
        except (KeyError, TypeError, ValueError):
            raise BadExamples(f"Line {number} has no context, start and end.", _MEND) from None
    texts, sessions, used = [], [], []
    contexts = 0
    for context, answers in asked.items():
        sentences = list(_sentences(context))
        if len(sentences) < _SHORTEST or contexts == limit:
            continue
        for start, end in sentences:
            texts.append(context[start:end])
            sessions.append(contexts)
            used.append(any(start < stop and first < end for first, stop in answers))
        contexts += 1
    if not any(used) or all(used):
        raise BadExamples("No context has sentences that are asked for beside others that are not.", _MEND)
    return fit(_features(texts, sessions, embed(texts)), np.array(used, float), names=NAMES, strength=_STRENGTH)


_MEND = 'Give JSON lines such as {"context": "...", "start": 10, "end": 14}.'


def _rows(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadExamples(f"Line {number} is not JSON: {error.msg}.", _MEND) from None
        if not isinstance(row, dict):
            raise BadExamples(f"Line {number} is no object.", _MEND)
        yield number, row


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in SENTENCE_END.finditer(text):
        if text[start : match.start()].strip():
            yield start, match.start()
        start = match.end()
    if text[start:].strip():
        yield start, len(text)


def _features(texts: Sequence[str], sessions: Sequence[int], vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    seen: set[str] = set()
    written = []
    for index, text in enumerate(texts):
        words = content_words(text)
        cosines = (vectors[max(0, index - _RECENT) : index] @ vectors[index]).astype(np.float64)
        follows = index > 0 and sessions[index - 1] == sessions[index]
        previous = float(cosines[-1]) if follows else 0.0
        written.append(np.r_[content(text), against_store(len(words - seen), len(words), cosines, previous)])
        seen |= words
    known = np.array(written)
    context = in_context(known, np.array(sessions, np.int64))
    context[:, -1] = 0.0  # the order of contexts in a file says nothing of age
    return np.hstack([known, context, np.zeros((len(texts), len(HISTORY)))])
