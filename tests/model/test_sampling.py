"""Drawing: penalties and cuts against plain formulas, distributions, determinism, and what a greedy batch costs."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from model.constraints import ChoiceConstraint
from model.engine import Sampling
from model.errors import InvalidSampling, NotANumber
from model.sampling import Sampler, draw, likeliest, pick, shares

LOGITS = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])


def drawn(logits: torch.Tensor, count: int, **options: Any) -> np.ndarray:
    """How often each token came in `count` draws."""
    sampler = Sampler(Sampling(temperature=options.pop("temperature", 1.0), **options))
    tokens = [draw(logits, [sampler])[0].token for _ in range(count)]
    return np.bincount(tokens, minlength=logits.shape[-1])


def plain_shares(scores: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float) -> np.ndarray:
    """The cuts one after the other over a sorted list."""
    likely = np.exp((scores - scores.max()) / temperature)
    likely /= likely.sum()
    order = np.argsort(-likely, kind="stable")[: top_k or None]
    total, nucleus = 0.0, []
    for token in order:
        if nucleus and total >= top_p * likely[order].sum():
            break
        nucleus.append(token)
        total += likely[token]
    kept = [token for token in nucleus if likely[token] >= min_p * likely[nucleus[0]]]
    out = np.zeros_like(likely)
    out[kept] = likely[kept] / likely[kept].sum()
    return out


def test_cuts_keep_what_they_should() -> None:
    def kept(**options: Any) -> set[int]:
        return set(np.flatnonzero(drawn(LOGITS, 400, **options)).tolist())

    assert kept() == {0, 1, 2, 3, 4}
    assert kept(top_k=2) == {0, 1}
    assert kept(top_p=0.6) == kept(top_p=0.0) == {0}
    assert kept(top_p=0.7) == {0, 1}
    assert kept(min_p=0.3) == {0, 1}


def test_shares_are_those_of_the_plain_formula() -> None:
    random = np.random.default_rng(1)
    cases = [(1.0, 0, 1.0, 0.0), (0.7, 5, 1.0, 0.0), (1.3, 0, 0.8, 0.0), (1.0, 0, 1.0, 0.2), (2.0, 30, 0.9, 0.05),
             (0.5, 40, 0.3, 0.0), (1.0, 100, 0.95, 0.0)]  # fmt: skip
    scores = random.normal(0, 2, (len(cases), 50))
    settings = [Sampling(temperature=t, top_k=k, top_p=p, min_p=m) for t, k, p, m in cases]
    together = shares(torch.from_numpy(scores), settings).numpy()
    for row, case, sampling, ours in zip(scores, cases, settings, together, strict=True):
        expected = plain_shares(row, *case)
        alone = shares(torch.from_numpy(row)[None], [sampling]).numpy()[0]
        np.testing.assert_allclose(ours, expected, atol=1e-12)
        np.testing.assert_allclose(alone, expected, atol=1e-12)


def test_equal_tokens_at_the_edge_of_a_cut_stay_by_their_ids() -> None:
    scores = torch.tensor([[1.0, 2.0, 1.0, 1.0]])
    assert shares(scores, [Sampling(temperature=1.0, top_k=3)])[0].nonzero()[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("options", [{"temperature": 0.7}, {"temperature": 1.5, "top_k": 3, "top_p": 0.9}])
def test_draws_follow_their_shares(options: dict[str, Any]) -> None:
    count = 6000
    expected = shares(LOGITS, [Sampling(**options)])[0].numpy()
    counts = drawn(LOGITS, count, seed=3, **options)
    likely = expected > 0
    assert counts[~likely].sum() == 0
    chi_square = ((counts - count * expected)[likely] ** 2 / (count * expected[likely])).sum()
    assert chi_square < 18.5  # the 99.9th percentile with 4 degrees of freedom


def test_points_fall_into_the_shares_laid_end_to_end() -> None:
    rows = torch.tensor([[0.25, 0.0, 0.75]], dtype=torch.float64).expand(5, 3)
    assert pick(rows, [0.0, 0.2499, 0.25, 0.5, math.nextafter(1.0, 0.0)]).tolist() == [0, 0, 2, 2, 2]


def test_penalties_are_those_of_the_plain_formula() -> None:
    prompt, answer = [1, 2, 2], [2, 3, 3, 3]
    sampling = Sampling(repetition_penalty=1.5, presence_penalty=0.25, frequency_penalty=0.125)
    sampler = Sampler(sampling, prompt)
    logits = torch.tensor([2.0, -1.0, 3.0, 0.5, 0.25, -2.0])
    sampler.shape(logits)
    for token in answer:
        sampler.accept(token)
    expected = []
    for token, score in enumerate(logits.tolist()):
        if token in prompt + answer:
            score = score / 1.5 if score > 0 else score * 1.5
        expected.append(score - 0.125 * answer.count(token) - 0.25 * (token in answer))
    np.testing.assert_allclose(sampler.shape(logits).numpy(), expected, rtol=1e-6)


def test_penalties_change_what_is_drawn() -> None:
    sampler = Sampler(Sampling(frequency_penalty=1.5))
    assert [draw(LOGITS, [sampler])[0].token for _ in range(5)] == [0, 1, 0, 2, 1]


def test_a_batch_draws_what_its_rows_draw_alone() -> None:
    settings = [
        Sampling(), Sampling(temperature=1.0, seed=7), Sampling(temperature=2.0, top_k=3, seed=8, logprobs=2),
        Sampling(presence_penalty=2.0), Sampling(temperature=1, top_p=0.8, repetition_penalty=1.2, seed=9, logprobs=1),
    ]  # fmt: skip
    steps = torch.randn(12, len(settings), 20, generator=torch.Generator().manual_seed(0))
    together = [Sampler(one, [3, 4]) for one in settings]
    alone = [Sampler(one, [3, 4]) for one in settings]
    for logits in steps:
        expected = [draw(logits[n : n + 1], [sampler])[0] for n, sampler in enumerate(alone)]
        found = draw(logits, together)
        assert [one.token for one in found] == [one.token for one in expected]
        assert [one.likeliest for one in found] == [one.likeliest for one in expected]


def test_draws_repeat_with_their_seed() -> None:
    logits = torch.randn(30, 1, 40, generator=torch.Generator().manual_seed(0))

    def run(seed: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.2, top_p=0.9, seed=seed))
        return [draw(row, [sampler])[0].token for row in logits]

    assert run(1) == run(1) != run(2)


def test_log_probabilities_are_the_models_own() -> None:
    sampling = Sampling(temperature=3.0, top_k=1, presence_penalty=9.0, logprobs=2)
    sampler = Sampler(sampling, constraint=ChoiceConstraint([[4, 3]], end=2, vocabulary=5))
    (one,) = draw(LOGITS, [sampler])
    expected = LOGITS[0].log_softmax(-1)
    assert one.token == 4 and one.logprob == pytest.approx(float(expected[4]))
    assert [token for token, _ in one.likeliest] == [0, 1]
    assert [value for _, value in one.likeliest] == pytest.approx(expected[:2].tolist())


class Counted(TorchDispatchMode):
    """Names of the tensor operations that run within."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_greedy_batch_needs_one_maximum_and_one_transfer() -> None:
    logits = torch.randn(8, 50)
    samplers = [Sampler(Sampling()) for _ in range(8)]
    with Counted() as counted:
        found = draw(logits, samplers)
    names = [name.split(".")[1] for name in counted.names if "resolve" not in name]  # resolve: of tolist
    assert names == ["max", "abs", "lt", "where"]
    assert [one.token for one in found] == logits.argmax(-1).tolist()


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1}, {"temperature": math.nan}, {"top_p": 1.1}, {"top_k": -1}, {"min_p": 2}, {"max_tokens": -1},
     {"repetition_penalty": 0}, {"presence_penalty": math.inf}, {"frequency_penalty": math.nan}, {"logprobs": -1},
     {"repetition_penalty": 5e-324}, {"frequency_penalty": -1e308}],
)  # fmt: skip
def test_values_out_of_bounds_are_refused_by_name(options: dict[str, float]) -> None:
    with pytest.raises(InvalidSampling, match=next(iter(options))):
        Sampling(**options)  # type: ignore[arg-type]


def test_all_violations_come_in_one_error() -> None:
    with pytest.raises(InvalidSampling, match=r"temperature is -1, not at least 0; top_p is 2, not from 0 to 1\."):
        Sampling(temperature=-1, top_p=2)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0), Sampling(temperature=1.0, logprobs=2)])
def test_logits_that_are_no_numbers_end_in_an_error(broken: float, sampling: Sampling) -> None:
    logits = torch.randn(3, 20, generator=torch.Generator().manual_seed(0))
    logits[1, 7] = broken
    with pytest.raises(NotANumber, match=r"model\.dtype"):
        draw(logits, [Sampler(sampling) for _ in range(3)])
    with pytest.raises(NotANumber):
        likeliest(logits)


@pytest.mark.parametrize("temperature", [1e-30, 5e-324])
def test_the_smallest_temperatures_draw_as_greedy_does(temperature: float) -> None:
    logits = torch.randn(20, 300, generator=torch.Generator().manual_seed(0)) * 50
    for row in logits.split(1):
        for options in ({}, {"top_p": 0.5}, {"top_k": 10**30}):
            sampler = Sampler(Sampling(temperature=temperature, **options))
            assert draw(row, [sampler])[0].token == int(row.argmax())


def test_integers_that_no_float_holds_are_within_bounds() -> None:
    assert Sampling(max_tokens=10**400, logprobs=10**400).max_tokens == 10**400
