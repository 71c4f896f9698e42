"""Rows in which facts are hidden: whole, asked for after they were told, and weighted where they are to be learned."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from model.train import episodes
from model.train.batches import TextStream
from model.train.corpus import load_packed
from model.train.evaluate import evaluate_needles
from model.train.needles import NeedleStream

LENGTH = 2048
WORDS = [f"{one}{two}{three}" for one in "bdfgk" for two in "aeiou" for three in "lmnrst"]
RUNNING = re.findall(r"\S+", "The mill was built in 1871, burnt down twice and {was} never rebuilt by its last owner")


@pytest.fixture(scope="module")
def stream(data: Path) -> NeedleStream:
    return NeedleStream(TextStream(load_packed(data), LENGTH, 2 * LENGTH, 1), data / "tokenizer.json", 1)


def test_answers_are_told_before_they_are_asked_for(stream: NeedleStream, data: Path) -> None:
    decoder = Tokenizer.from_file(str(data / "tokenizer.json"))
    answers = 0
    for position in range(12):
        batch = stream.batch(position)
        assert batch.inputs.shape == batch.weights.shape == (2, LENGTH)
        np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        for inputs, targets, weights in zip(batch.inputs, batch.targets, batch.weights, strict=True):
            wanted = np.flatnonzero(weights > 1)
            for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1):
                if len(run):
                    answers += 1
                    answer = decoder.decode(targets[run].tolist()).strip().rstrip(".")
                    told = decoder.decode(inputs[: run[0] + 1].tolist())
                    assert all(part in told for part in re.split(r",? |\n", answer) if part), answer
            assert (weights == 0).any() and (weights == 1).mean() > 0.35  # facts and questions; running text
    assert answers >= 24


def test_a_position_gives_the_same_rows_again(stream: NeedleStream, data: Path) -> None:
    again = NeedleStream(TextStream(load_packed(data), LENGTH, 2 * LENGTH, 1), data / "tokenizer.json", 1)
    np.testing.assert_array_equal(stream.batch(5).inputs, again.batch(5).inputs)
    assert (stream.batch(5).inputs != stream.batch(6).inputs).any()


def test_keys_of_a_row_are_told_in_one_wording_and_asked_for_by_key() -> None:
    for seed in range(40):
        episode = episodes.one_of_keys(Random(seed), WORDS, RUNNING)
        for ask in episode.asks:
            value = ask.answer.strip().rstrip(".")
            fact = next(one for one in episode.facts if value in one)
            key = max((word for word in re.findall(r"\w+", ask.before) if word in fact), key=len)
            assert sum(value in one for one in episode.facts) == 1
            assert key in fact


def test_what_is_asked_for_stands_once_in_the_facts_after_the_words_that_are_repeated() -> None:
    wordings = set()
    for seed in range(200):
        for episode in (
            episodes.one_of_keys(Random(seed), WORDS, RUNNING),
            episodes.one_value(Random(seed), WORDS, RUNNING),
        ):
            for ask in episode.asks:
                value = ask.answer.strip().rstrip(".")
                told = [fact for fact in episode.facts if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", fact)]
                assert len(told) == 1
                before = told[0].partition(value)[0].strip()
                if ask.before.endswith(before):
                    wordings.add(re.sub(r"\w*\d\w*", "", before))
    assert len(wordings) > 200


def test_a_row_tells_of_nothing_twice(stream: NeedleStream, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    place = NeedleStream._place

    def note(self: NeedleStream, episode: episodes.Episode, *rest: Any, **named: Any) -> Any:
        drawn.append(episode.about)
        return place(self, episode, *rest, **named)

    monkeypatch.setattr(NeedleStream, "_place", note)
    monkeypatch.setattr(episodes, "_noun", lambda random: random.choice(("door code", "seat number")))
    stream._row(Random(3))
    about = [one for one in drawn if one]
    assert about
    assert len(about) == len(set(about))


def test_a_chain_is_answered_by_all_names_that_hold_the_value() -> None:
    for seed in range(40):
        episode = episodes.chain(Random(seed))
        (ask,) = episode.asks
        value = re.findall(r"\d{5}", ask.before)[0]
        held: dict[str, str] = {}
        for fact in episode.facts:
            names = re.findall(r"\b[A-Z]{3,5}\b", fact)
            told = re.findall(r"\d{5}", fact)
            held[names[0]] = told[0] if told else held[names[-1]]
        expected = [name for name, one in held.items() if one == value]
        assert ask.answer.strip().rstrip(".").split(", ") == expected


def test_common_words_are_the_most_frequent_ones() -> None:
    for seed in range(40):
        episode = episodes.common_words(Random(seed), WORDS, 120)
        counted = {word: episode.facts[0].split().count(word) for word in WORDS}
        wanted = episode.asks[0].answer.strip().rstrip(".").split(", ")
        assert min(counted[word] for word in wanted) > max(counted[word] for word in WORDS if word not in wanted)


def test_a_model_that_knows_the_rows_finds_all_answers_and_another_none(stream: NeedleStream) -> None:
    batches = [stream.batch(10**9 + number) for number in range(3)]
    following = {
        row.tobytes(): torch.from_numpy(targets)
        for batch in batches
        for row, targets in zip(batch.inputs, batch.targets, strict=True)
    }

    class Known:
        """Stands for a model: its states are the tokens that come `late` after the right ones."""

        def __init__(self, late: int) -> None:
            self.late = late

        def parameters(self) -> Iterator[torch.Tensor]:
            yield torch.zeros(1)

        def hidden(self, ids: torch.Tensor) -> tuple[torch.Tensor, None]:
            right = following[ids[0].numpy().tobytes()]
            return F.one_hot(torch.roll(right, -self.late), 512).float()[None], None

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            return hidden

    found = [evaluate_needles(Known(late), stream, 3) for late in (0, 1)]  # type: ignore[arg-type]  # it acts as one
    assert found[0]["needles_found"] == 1.0
    assert found[0]["needle_answers"] >= 6
    assert found[1]["needles_found"] < 0.2
