"""Speculation: what is accepted, that the answer's distribution stays, and that drafts come from the right places."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from model.constraints import ChoiceConstraint
from model.engine import Sampling
from model.sampling import Sampler, draw
from model.speculate import verify

V = 6


class Markov:
    """A toy model of V tokens whose logits depend on the last two."""

    def __init__(self, seed: int) -> None:
        self._table = torch.randn(V, V, V, generator=torch.Generator().manual_seed(seed)) * 1.5

    def logits(self, tokens: list[int]) -> torch.Tensor:
        return self._table[tokens[-2], tokens[-1]]


def plain(model: Markov, prompt: list[int], sampler: Sampler, length: int) -> list[int]:
    tokens = list(prompt)
    while len(tokens) < len(prompt) + length:
        tokens.append(draw(model.logits(tokens)[None], [sampler])[0].token)
    return tokens[len(prompt) :]


def speculated(
    model: Markov, drafter: Markov, prompt: list[int], samplers: list[Sampler], length: int, count: int
) -> tuple[list[list[int]], int]:
    """Answers of equal prompts, drafted greedily by another model, and how many drafts were kept."""
    sequences, accepted = [list(prompt) for _ in samplers], 0
    while any(len(one) < len(prompt) + length for one in sequences):
        drafts, rows = [], []
        for tokens in sequences:
            ahead = list(tokens)
            for _ in range(count):
                ahead.append(int(drafter.logits(ahead).argmax()))
            drafts.append(ahead[len(tokens) :])
            rows += [model.logits(ahead[: len(tokens) + n]) for n in range(count + 1)]
        for tokens, found in zip(sequences, verify(torch.stack(rows), samplers, drafts, frozenset()), strict=True):
            tokens += [one.token for one in found]
            accepted += len(found) - 1
    return [one[len(prompt) : len(prompt) + length] for one in sequences], accepted


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 1.0}, {"temperature": 1.4, "top_k": 4, "top_p": 0.9, "min_p": 0.02},
     {"repetition_penalty": 1.3, "frequency_penalty": 0.4}, {"temperature": 0.8, "presence_penalty": 0.7}],
)  # fmt: skip
def test_a_seed_draws_the_same_with_and_without_drafts(options: dict[str, Any], count: int) -> None:
    model, drafter = Markov(1), Markov(2)
    seeds = range(8)
    answers, accepted = speculated(
        model, drafter, [0, 1], [Sampler(Sampling(seed=seed, **options), [0, 1]) for seed in seeds], 24, count
    )
    assert answers == [plain(model, [0, 1], Sampler(Sampling(seed=seed, **options), [0, 1]), 24) for seed in seeds]
    assert accepted > 0


def test_a_perfect_drafter_is_always_kept_and_a_wrong_one_never() -> None:
    model = Markov(1)
    _, accepted = speculated(model, model, [0, 1], [Sampler(Sampling())], 30, 2)
    assert accepted == 2 * 30 / 3
    wrong = Markov(1)
    wrong._table = -model._table
    answers, accepted = speculated(model, wrong, [0, 1], [Sampler(Sampling())], 30, 2)
    assert accepted == 0 and answers[0] == plain(model, [0, 1], Sampler(Sampling()), 30)


def test_drawn_answers_follow_the_models_own_distribution() -> None:
    """Three tokens' joint frequencies over many seeds against the product of the model's conditional shares."""
    model, drafter, runs = Markov(3), Markov(4), 6000
    samplers = [Sampler(Sampling(temperature=0.9, top_k=5, seed=seed)) for seed in range(runs)]
    answers, accepted = speculated(model, drafter, [0, 1], samplers, 3, 2)
    counts = np.zeros((V, V, V))
    for answer in answers:
        counts[tuple(answer)] += 1

    def likely(tokens: list[int]) -> np.ndarray:
        scores = model.logits(tokens).double().numpy() / 0.9
        scores[scores.argsort()[: V - 5]] = -np.inf
        shares = np.exp(scores - scores.max())
        return np.asarray(shares / shares.sum())

    expected = np.zeros_like(counts)
    for a, b, c in itertools.product(range(V), repeat=3):
        expected[a, b, c] = runs * likely([0, 1])[a] * likely([1, a])[b] * likely([a, b])[c]
    assert counts[expected == 0].sum() == 0
    common, rare = expected >= 5, (expected > 0) & (expected < 5)
    terms = [((counts - expected)[common] ** 2 / expected[common]).sum()]
    terms.append((counts[rare].sum() - expected[rare].sum()) ** 2 / max(expected[rare].sum(), 1))
    degrees = int(common.sum())
    print(f"chi-square {sum(terms):.1f} with {degrees} degrees of freedom, {accepted} drafts kept")
    # Mean k and variance 2k: beyond four standard deviations about once in 10,000 tests.
    assert sum(terms) < degrees + 4 * (2 * degrees) ** 0.5
    assert accepted > runs / 4


def test_a_draft_that_the_constraint_forbids_is_not_kept() -> None:
    def sampler() -> Sampler:
        return Sampler(Sampling(), constraint=ChoiceConstraint([[2, 3], [2, 4]], end=5, vocabulary=V))

    likes_one = torch.tensor([[0.0, 9, 1, 0, 0, 0], [0, 9, 0, 1, 0, 0], [0, 9, 0, 0, 0, 1]])
    assert [one.token for one in verify(likes_one, [sampler()], [[1, 1]], frozenset({5}))[0]] == [2]
    assert [one.token for one in verify(likes_one, [sampler()], [[2, 3]], frozenset({5}))[0]] == [2, 3]


def test_nothing_is_drawn_after_an_end() -> None:
    rows = torch.eye(V)[[2, 5, 3]]
    for options in ({}, {"logprobs": 1}):
        found = verify(rows, [Sampler(Sampling(**options))], [[2, 5]], frozenset({5}))  # type: ignore[arg-type]
        assert [one.token for one in found[0]] == [2, 5]


def test_sequences_may_have_different_numbers_of_drafts() -> None:
    rows = torch.eye(V)[[1, 2, 3, 4, 0, 2]]
    found = verify(rows, [Sampler(Sampling()) for _ in range(3)], [[1, 2], [], [1]], frozenset())
    assert [[one.token for one in own] for own in found] == [[1, 2, 3], [4], [0]]
