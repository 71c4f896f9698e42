"""Micro-batches of running text in which facts are hidden and asked for later, at any length (see episodes.py).

Position is one integer, as for the other streams. The running text counts as text does, facts and questions do not, and
the answers of a row together as much as `_SHARE` of it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from model.train.batches import Batch, TextStream
from model.train.episodes import INTROS, Episode, chain, common_words, one_of_keys, one_value
from model.train.tokenizer import BEGIN_ID

_SHARE = 0.25
_MOST = 64.0
"""The weight of an answer's token at most, where answers are a vanishing part of a row."""
_KINDS = {"one": 0.15, "keys": 0.65, "chain": 0.13, "words": 0.07}
_SPACING = 256
"""A row has an episode more for so many tokens."""
_EPISODES = 64


@dataclass(frozen=True, slots=True)
class _Piece:
    """Tokens to be put into the filler after its first `place` tokens; the last `answer` of them count."""

    place: int
    tokens: list[int]
    answer: int = 0


class NeedleStream:
    """Rows of `text.length` tokens, `text.rows` at a time."""

    def __init__(self, text: TextStream, tokenizer: Path, seed: int) -> None:
        from tokenizers import Tokenizer

        self.text, self.seed = text, seed
        self._encoder = Tokenizer.from_file(str(tokenizer))
        size = self._encoder.get_vocab_size()
        written = [self._encoder.decode([one]) for one in range(size)]
        self._ends = np.array([text.rstrip(" ").endswith((".", "\n")) for text in written])
        self._words = [text[1:] for text in written if re.fullmatch(r" [a-z]{4,9}", text)]
        if len(self._words) < 40:  # a vocabulary too small for words of its own
            self._words = [
                f"{one}{two}" for one in ("ba", "de", "ki", "lo", "mu", "na", "po") for two in "bcdfghklmnprst"
            ]

    def batch(self, position: int) -> Batch:
        rows, length = self.text.rows, self.text.length
        windows = np.empty((rows, length + 1), np.int64)
        weights = np.empty((rows, length), np.float32)
        for row in range(rows):
            windows[row], weights[row] = self._row(Random(f"{self.seed} {position} {row}"))
        return Batch(windows[:, :-1], windows[:, 1:], weights)

    def _row(self, random: Random) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Tokens [length + 1] and the weights of all but the first as targets [length]."""
        length = self.text.length
        filler = self.text.window(random.randrange(int(self.text.ends[-1])), 0)
        if random.random() < 0.5:
            filler[0] = BEGIN_ID
        gaps = np.flatnonzero(self._ends[filler[:-1]]) + 1
        # 1. Episodes, until they take half of a short row or are enough for a long one.
        pieces: list[_Piece] = []
        if random.random() < 0.3:
            pieces.append(_Piece(1, self._encode([f"{random.choice(INTROS)}\n"])[0]))
        room = length // 2
        running = self._encoder.decode(filler[: 2 * _SPACING].tolist()).split()
        told: set[str] = set()
        for number in range(min(1 + length // _SPACING, _EPISODES)):
            episode = self._episode(random, room, running)
            if episode.about in told:
                continue
            told |= {episode.about} - {""}
            drawn = self._place(episode, gaps, random, at_end=number == 0)
            used = sum(len(piece.tokens) for piece in drawn)
            if used <= room:
                pieces += drawn
                room -= used
        # 2. The filler around them, cut so that the row has its length.
        pieces.sort(key=lambda piece: piece.place)
        kept = length + 1 - sum(len(piece.tokens) for piece in pieces)
        answers = sum(piece.answer for piece in pieces)
        weight = min(_SHARE * length / max(answers, 1), _MOST)
        tokens: list[NDArray[np.int64]] = []
        weights: list[NDArray[np.float32]] = []
        taken = 0
        for piece in pieces:
            place = min(piece.place, kept)
            tokens += [filler[taken:place], np.array(piece.tokens, np.int64)]
            own = np.zeros(len(piece.tokens), np.float32)
            own[len(own) - piece.answer :] = weight
            weights += [np.ones(place - taken, np.float32), own]
            taken = place
        tokens.append(filler[taken:kept])
        weights.append(np.ones(kept - taken, np.float32))
        return np.concatenate(tokens), np.concatenate(weights)[1:]

    def _episode(self, random: Random, room: int, running: list[str]) -> Episode:
        kind = random.choices(list(_KINDS), list(_KINDS.values()))[0]
        if kind == "words":
            return common_words(random, self._words, random.randint(20, max(min(room // 4, 600), 21)))
        if kind == "keys":
            return one_of_keys(random, self._words, running)
        return one_value(random, self._words, running) if kind == "one" else chain(random)

    def _place(self, episode: Episode, gaps: NDArray[np.int64], random: Random, at_end: bool) -> list[_Piece]:
        """Facts at the ends of sentences, in order; questions after them, `at_end` of the row or anywhere."""
        length = self.text.length
        places = sorted(random.randrange(length) for _ in episode.facts)
        last = max(places)
        facts = self._encode([f" {fact}" for fact in episode.facts])
        asked = self._encode([part for ask in episode.asks for part in (ask.before, ask.answer)])
        pieces = [_Piece(_after(gaps, place, length), tokens) for place, tokens in zip(places, facts, strict=True)]
        for before, answer in zip(asked[::2], asked[1::2], strict=True):
            place = length if at_end else random.randint(last, length)
            pieces.append(_Piece(max(_after(gaps, place, length), pieces[-1].place), before + answer, len(answer)))
        return pieces

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [one.ids for one in self._encoder.encode_batch(texts, add_special_tokens=False)]


def _after(gaps: NDArray[np.int64], place: int, last: int) -> int:
    """The first of `gaps` from `place` on, or else `last`."""
    found = int(np.searchsorted(gaps, place))
    return int(gaps[found]) if found < len(gaps) else last
