"""The plain way to cut texts, as a baseline: windows of 800 tokens, each 400 after the one before, by meaning alone."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from retrieval.embedder import Embedder

SIZE, STEP = 800, 400
"""Tokens of the embedder. It reads no more of a window than its own holds."""
Span = tuple[str, int, int]


def windows(name: str, text: str, embedder: Embedder) -> list[Span]:
    """The windows of `text` as spans; words are not cut."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    special = embedder.count_tokens("")
    ends = np.cumsum(
        [embedder.count_tokens(text[a:b]) - special for a, b in words]
    )  # [W], tokens up to each word's end
    found: list[Span] = []
    for start in range(0, int(ends[-1]) if words else 0, STEP):
        inside = np.flatnonzero((ends > start) & (ends <= start + SIZE))
        if len(inside):
            found.append((name, words[inside[0]][0], words[inside[-1]][1]))
        if start + SIZE >= ends[-1]:
            break
    return found


def nearest(texts: Mapping[str, str], questions: Sequence[str], embedder: Embedder, many: int) -> list[list[Span]]:
    """For each question the `many` windows of all `texts` nearest to it."""
    spans = [span for name, text in texts.items() for span in windows(name, text, embedder)]
    vectors = embedder.encode([texts[name][start:end] for name, start, end in spans])  # [N, D]
    found = []
    for question in questions:
        scores = vectors @ embedder.encode([question])[0]  # [N]
        found.append([spans[index] for index in np.argsort(-scores, kind="stable")[:many]])
    return found
