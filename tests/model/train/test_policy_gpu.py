"""Policy optimisation on an NVIDIA GPU: bfloat16 there against float32 on the CPU, sampling against training.

python -m pytest -n 0 -s tests/model/train/test_policy_gpu.py
"""

import copy
from dataclasses import replace
from random import Random

import pytest
import torch

from model.deepseek import DeepseekForCausalLM
from model.train.policy import log_probabilities, pack
from model.train.policy_stage import _plain
from model.train.rollout import sample_groups
from tests.model.train.test_policy import CONFIG

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]

WIDE = replace(
    CONFIG, vocab_size=512, hidden_size=128, intermediate_size=256, moe_intermediate_size=64, q_lora_rank=64,
    kv_lora_rank=64, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64, n_routed_experts=8,
    num_experts_per_tok=2, max_position_embeddings=1024, initializer_range=0.1,
)  # fmt: skip


def prompts(count: int) -> list[list[int]]:
    random = Random(7)
    return [random.choices(range(4, WIDE.vocab_size), k=random.randint(20, 300)) for _ in range(count)]


@pytest.fixture(scope="module")
def models() -> tuple[DeepseekForCausalLM, DeepseekForCausalLM]:
    """The same float32 weights on the CPU, and on the GPU with bfloat16 activations."""
    cpu = DeepseekForCausalLM(WIDE)
    cpu.init_weights(torch.Generator().manual_seed(1))
    gpu = copy.deepcopy(cpu).to("cuda")
    gpu.compute_dtype = torch.bfloat16
    return cpu, gpu


def test_rows_of_groups_give_what_they_give_on_the_cpu_with_their_gradients(
    models: tuple[DeepseekForCausalLM, DeepseekForCausalLM],
) -> None:
    random = Random(8)
    groups = [[random.choices(range(4, 512), k=random.randint(1, 12)) for _ in range(6)] for _ in range(5)]
    packed = pack(prompts(5), groups)
    found = []
    for model in models:
        with _plain(model.model.embed_tokens.weight.device):
            now = log_probabilities(model, packed)
            now.sum().backward()
        gradient = torch.cat([one.grad.flatten().cpu() for one in model.parameters() if one.grad is not None])
        found.append((now.detach().cpu(), gradient))
    error = float((found[0][0] - found[1][0]).abs().mean())
    alike = float(torch.cosine_similarity(found[0][1], found[1][1], dim=0))
    print(f"log-probabilities: mean error {error:.1e}; gradients: cosine {alike:.4f}")
    assert error < 0.05  # rounding may route a token to another expert
    assert alike > 0.95


def test_greedy_tokens_are_the_likeliest_of_the_training_path(
    models: tuple[DeepseekForCausalLM, DeepseekForCausalLM],
) -> None:
    model = models[1]
    asked = prompts(40)
    ends = torch.zeros(WIDE.vocab_size, dtype=torch.bool, device="cuda")
    with _plain(ends.device):
        groups = sample_groups(model, asked, 1, 16, ends)
        drawn = sample_groups(model, asked, 16, 16, ends, torch.Generator("cuda").manual_seed(1))
        behind = []
        for prompt, (answer,) in zip(asked, groups, strict=True):
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *answer[:-1]]], device="cuda"))[0, len(prompt) - 1 :].float()
            behind.append(logits.amax(-1) - logits.gather(-1, torch.tensor(answer, device="cuda")[:, None])[:, 0])
    missed = float(torch.cat(behind).mean() / logits.std())
    print(f"greedy tokens are {missed:.1e} standard deviations behind the likeliest, on average")
    assert missed < 0.05
    assert len({tuple(answer) for answer in drawn[0]}) > 8
