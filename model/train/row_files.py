"""Question rows as they are stored for training.

A rows folder holds `N.tokens` (uint16, flat) and `N.index.npy` (int64 [rows, 3]: start, start of the answer, end).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.spanformat import NOT_FOUND, answer_continuation, span_prompt
from model.train.tokenizer import END_ID

_LONGEST = 2048
"""Tokens; longer rows are dropped."""


@dataclass(frozen=True, slots=True)
class Row:
    question: str
    passages: tuple[str, ...]
    gold: int
    """Number of the gold passage, from 1; 0 where none answers."""
    span: str

    @property
    def prompt(self) -> str:
        return span_prompt(self.question, self.passages)

    @property
    def answer(self) -> str:
        return answer_continuation(self.gold, self.span) if self.gold else NOT_FOUND


def encode_rows(drawn: Sequence[Row], tokenizer: Path) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Flat tokens and index of rows, as they stand in a rows folder; rows over `_LONGEST` are left out."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(tokenizer))
    tokens: list[NDArray[np.uint16]] = []
    index: list[tuple[int, int, int]] = []
    position = 0
    for first in range(0, len(drawn), 512):
        part = drawn[first : first + 512]
        prompts = encoder.encode_batch([row.prompt for row in part], add_special_tokens=False)
        answers = encoder.encode_batch([row.answer for row in part], add_special_tokens=False)
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = [*prompt.ids, *answer.ids, END_ID]
            if len(ids) <= _LONGEST:
                tokens.append(np.array(ids, dtype=np.uint16))
                index.append((position, position + len(prompt.ids), position + len(ids)))
                position += len(ids)
    return np.concatenate([np.empty(0, np.uint16), *tokens]), np.array(index, dtype=np.int64).reshape(-1, 3)


def save_rows(drawn: Sequence[Row], tokenizer: Path, out: Path, number: int) -> int:
    """Part `number` of the rows folder `out`, and how many rows fitted."""
    out.mkdir(parents=True, exist_ok=True)
    tokens, index = encode_rows(drawn, tokenizer)
    tokens.tofile(out / f"{number}.tokens")
    np.save(out / f"{number}.index.npy", index)
    return len(index)


def load_rows(folder: Path) -> list[tuple[NDArray[np.uint16], NDArray[np.int64]]]:
    """Tokens (memory-mapped) and index of every part of a rows folder, in order."""
    files = sorted(folder.glob("*.index.npy"), key=lambda file: int(file.name.split(".")[0]))
    return [
        (np.memmap(file.with_name(file.name.split(".")[0] + ".tokens"), dtype=np.uint16, mode="r"), np.load(file))
        for file in files
    ]
