"""Questions for policy optimisation: prompts as tokens, and what their answers are judged by.

Both are read back from a rows folder (see rows.py), which is text and knows its answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.spanformat import BEGIN, parse_answer
from model.train.row_files import Row
from model.train.tokenizer import END_ID


@dataclass(frozen=True, slots=True)
class Question:
    prompt: list[int]
    row: Row
    part: int
    """Number of the part of the folder that it comes from."""


class Questions:
    """The questions of a rows folder, epoch after epoch in another order."""

    def __init__(
        self,
        parts: Sequence[tuple[NDArray[np.uint16], NDArray[np.int64]]],
        tokenizer: Path,
        longest: int,
        most: int,
        seed: int,
    ) -> None:
        """Left out are prompts of more than `longest` tokens, and answers of more than `most`: trying to give these
        would teach to be cut off.

        :raises ValueError: nothing is left.
        """
        from tokenizers import Tokenizer

        self.coder = Tokenizer.from_file(str(tokenizer))
        self._parts, self._seed = parts, seed
        where = np.concatenate([np.full(len(index), number) for number, (_, index) in enumerate(parts)])
        spans = np.concatenate([index for _, index in parts])
        start, answer, end = spans.T
        fits = (answer - start <= longest) & (end - answer - 1 <= most)  # the end token is not sampled
        self._where, self._spans = where[fits], spans[fits]
        if not len(self):
            raise ValueError(f"no question has a prompt of at most {longest} tokens and an answer of at most {most}")
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self._spans)

    def ends(self) -> list[bool]:
        """Of every token, whether an answer ends with it: those that hold a line end, and the end of a text."""
        return [
            number == END_ID or "\n" in self.coder.decode([number]) for number in range(self.coder.get_vocab_size())
        ]

    def draw(self, positions: range) -> list[Question]:
        """Those at `positions` of the endless sequence, a pure function of them and of the seed."""
        return self._read([int(self._at(position)) for position in positions])

    def all(self) -> list[Question]:
        """Every question once, in the folder's order."""
        return self._read(list(range(len(self))))

    def decode(self, answers: Sequence[Sequence[int]]) -> list[str]:
        """Texts of answers, special tokens included."""
        texts: list[str] = self.coder.decode_batch(answers, skip_special_tokens=False)
        return texts

    def _at(self, position: int) -> np.int64:
        epoch, place = divmod(position, len(self))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self)))
        number: np.int64 = self._order[1][place]
        return number

    def _read(self, numbers: Sequence[int]) -> list[Question]:
        prompts, answers = [], []
        for number in numbers:
            start, answer, end = (int(value) for value in self._spans[number])
            tokens = self._parts[int(self._where[number])][0]
            prompts.append(tokens[start:answer].tolist())
            answers.append(tokens[answer : end - 1].tolist())
        rows = [read_row(*texts) for texts in zip(self.decode(prompts), self.decode(answers), strict=True)]
        parts = [int(self._where[number]) for number in numbers]
        return [Question(*one) for one in zip(prompts, rows, parts, strict=True)]


def read_row(prompt: str, answer: str) -> Row:
    """The inverse of `Row.prompt` and `Row.answer`, of texts that these wrote."""
    asked, *passages, _, _ = prompt.removeprefix(BEGIN).split("\n")
    gold, span = parse_answer(answer)
    return Row(asked.removeprefix("Question: "), tuple(one.partition("] ")[2] for one in passages), gold, span)
