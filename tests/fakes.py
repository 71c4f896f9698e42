"""Stand-ins that behave: small, deterministic, and without weights."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")


class FakeEmbedder:
    """A hashed bag of words: texts that share words are near. One token per word, two special ones."""

    def __init__(self, id: str = "fake", dimension: int = 64, max_tokens: int = 64) -> None:
        self.id = id
        self.sha256 = hashlib.sha256(f"{id} {dimension}".encode()).hexdigest()
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.encoded = 0
        """Texts embedded so far."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.encoded += len(texts)
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in _WORD.findall(text.lower())[: self.max_tokens - 2]:
                digest = hashlib.sha256(f"{self.id} {word}".encode()).digest()
                vectors[row, int.from_bytes(digest[:4], "big") % self.dimension] += 1.0 if digest[4] % 2 else -1.0
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit = np.full(self.dimension, self.dimension**-0.5, dtype=np.float32)
        return np.where(norms > 0, vectors / np.maximum(norms, 1e-12), unit).astype(np.float32)

    def count_tokens(self, text: str) -> int:
        return len(_WORD.findall(text)) + 2
