"""Sampling groups and the objective over them, each against its plain form: one row for each answer, no cache."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from model.config import Config
from model.deepseek import DeepseekForCausalLM
from model.train.policy import advantages, divergence, log_probabilities, pack, surrogate
from model.train.rollout import sample_groups

CONFIG = Config(
    architecture="deepseek_v3", vocab_size=40, hidden_size=32, intermediate_size=64, moe_intermediate_size=16,
    num_hidden_layers=3, num_attention_heads=2, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4,
    v_head_dim=8, n_routed_experts=4, num_experts_per_tok=2, norm_topk_prob=True, max_position_embeddings=256,
    tie_word_embeddings=True, initializer_range=0.3, bos_token_id=0, eos_token_ids=(1,),
)  # fmt: skip
PROMPTS = [[5, 6, 7, 8, 9, 3], [4, 4, 30], [11, 12, 13, 14, 15, 16, 17, 18, 19]]
GROUPS = [[[20, 21, 2], [2], [22, 23, 24, 2]], [[9, 2], [25, 26, 27], [9, 2]], [[2], [33, 2], [34, 35, 36, 37, 38, 39]]]


@pytest.fixture(scope="module")
def model() -> DeepseekForCausalLM:
    made = DeepseekForCausalLM(CONFIG)
    made.init_weights(torch.Generator().manual_seed(1))
    return made


@pytest.fixture
def ends() -> Tensor:
    return torch.arange(CONFIG.vocab_size) < 4


def plain(model: DeepseekForCausalLM, prompt: list[int], answer: list[int]) -> Tensor:
    """Log-probabilities of the answer's tokens, from a row of its own."""
    ids = torch.tensor([[*prompt, *answer]])
    return model(ids)[0, len(prompt) - 1 : -1].log_softmax(-1).gather(-1, torch.tensor(answer)[:, None])[:, 0]


def test_a_row_of_a_group_gives_each_answer_what_a_row_of_its_own_gives(model: DeepseekForCausalLM) -> None:
    packed = pack(PROMPTS, GROUPS)
    expected = torch.cat([plain(model, p, one) for p, group in zip(PROMPTS, GROUPS, strict=True) for one in group])
    found = log_probabilities(model, packed)
    print((found - expected).abs().max())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert packed.answers.tolist() == [number for number in range(9) for _ in GROUPS[number // 3][number % 3]]


def test_gradients_are_those_of_one_answer_after_the_other(model: DeepseekForCausalLM) -> None:
    draw = torch.Generator().manual_seed(2)
    of_answers = advantages(torch.rand(3, 3, generator=draw), scaled=True).flatten()
    packed = pack(PROMPTS, GROUPS)
    now = log_probabilities(model, packed)
    then = (now + 0.4 * torch.randn(len(now), generator=draw)).detach()
    reference = (now + 0.4 * torch.randn(len(now), generator=draw)).detach()
    of_tokens = of_answers[packed.answers]
    (divergence(now, reference) * 0.1 - surrogate(now, then, of_tokens, 0.2)).sum().backward()
    found = {name: one.grad for name, one in model.named_parameters()}
    model.zero_grad()
    # The plain form: every answer by itself, every token by itself, the clipping by cases.
    start = 0
    for number in range(9):
        answer = GROUPS[number // 3][number % 3]
        total = torch.zeros(())
        for own in plain(model, PROMPTS[number // 3], answer):
            ratio, gain = torch.exp(own - then[start]), of_answers[number]
            clipped = (gain > 0 and ratio > 1.2) or (gain < 0 and ratio < 0.8)
            total = total + (0.0 if clipped else ratio * gain)
            beyond = torch.exp(reference[start]) / torch.exp(own)
            total = total - 0.1 * (beyond - torch.log(beyond) - 1)
            start += 1
        (-total).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=2e-5, rtol=1e-3, msg=name)
    model.zero_grad()


def test_greedy_answers_are_those_without_a_cache(model: DeepseekForCausalLM, ends: Tensor) -> None:
    groups = sample_groups(model, PROMPTS, 2, 7, ends)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        answer: list[int] = []
        while len(answer) < 7 and not (answer and ends[answer[-1]]):
            answer.append(int(model(torch.tensor([[*prompt, *answer]]))[0, -1].argmax()))
        assert group == [answer, answer]
    assert any(len(group[0]) > 3 for group in groups)


def test_answers_end_with_the_first_end_and_repeat_with_the_seed(model: DeepseekForCausalLM, ends: Tensor) -> None:
    first, again = (sample_groups(model, PROMPTS, 30, 9, ends, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == again != sample_groups(model, PROMPTS, 30, 9, ends, torch.Generator().manual_seed(4))
    for answer in (answer for group in first for answer in group):
        assert 1 <= len(answer) <= 9
        assert not any(ends[token] for token in answer[:-1])
        assert ends[answer[-1]] or len(answer) == 9


def test_answers_have_the_distribution_of_the_model(model: DeepseekForCausalLM, ends: Tensor) -> None:
    answers = sample_groups(model, PROMPTS[:2], 4000, 2, ends, torch.Generator().manual_seed(5))
    for prompt, group in zip(PROMPTS, answers, strict=False):
        counts = Counter(tuple(answer) for answer in group)
        common = counts.most_common(20)
        off = [abs(n / 4000 - plain(model, prompt, list(one)).sum().exp().item()) for one, n in common]
        print(max(off), common[0])
        assert max(off) < 0.025  # three standard errors of a share of a half


def test_advantages_compare_within_a_group() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.1, 0.2]])
    plain_ = advantages(rewards, scaled=False)
    torch.testing.assert_close(plain_[0], torch.tensor([0.5, -0.5, -0.5, 0.5]))
    assert (plain_[1] == 0).all()
    scaled = advantages(rewards, scaled=True)
    torch.testing.assert_close(scaled[[0, 2]].abs(), torch.ones(2, 4), atol=3e-3, rtol=0)
    assert (scaled[1] == 0).all()


def test_nothing_is_gained_beyond_the_clip_and_losses_are_felt() -> None:
    now = torch.log(torch.tensor([1.5, 0.5, 1.5, 0.5])).requires_grad_()
    gain = torch.tensor([1.0, 1.0, -1.0, -1.0])
    found = surrogate(now, torch.zeros(4), gain, 0.2)
    torch.testing.assert_close(found, torch.tensor([1.2, 0.5, -1.5, -0.8]))
    found.sum().backward()
    assert now.grad is not None
    torch.testing.assert_close(now.grad, torch.tensor([0.0, 0.5, -1.5, 0.0]))


def test_the_divergence_is_right_on_average_and_never_negative() -> None:
    draw = torch.Generator().manual_seed(6)
    policy, reference = (torch.randn(8, generator=draw).log_softmax(-1) for _ in range(2))
    each = divergence(policy, reference)  # of every token, once
    assert (each >= 0).all()
    exact = (policy.exp() * (policy - reference)).sum()
    torch.testing.assert_close((policy.exp() * each).sum(), exact)
