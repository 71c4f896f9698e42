"""The expert paths against a plain per-token loop, and what a trainer reads from the router."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from model.checkpoint import load_model
from model.deepseek import DeepseekForCausalLM, parameter_counts, update_router_biases
from model.moe import Experts, MoE

Make = Callable[..., tuple[Path, Any]]


def routed_layer(folder: Path) -> tuple[DeepseekForCausalLM, MoE]:
    model = load_model(folder, torch.float32, torch.device("cpu"))
    layer = model.model.layers[1].mlp
    assert isinstance(layer, MoE)
    return model, layer


def plain(experts: Experts, x: torch.Tensor, weights: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(x)
    for token in range(len(x)):
        for weight, expert in zip(weights[token], chosen[token], strict=True):
            gate, up = (experts.gate_up_proj[expert] @ x[token]).chunk(2)
            out[token] += weight * (experts.down_proj[expert] @ (F.silu(gate) * up))
    return out


@torch.inference_mode()
def test_expert_paths_match_a_loop_over_tokens(checkpoint: Path) -> None:
    _, layer = routed_layer(checkpoint)
    experts = layer.experts
    x = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    routing = layer.gate(x)
    expected = plain(experts, x, routing.weights, routing.experts)
    weights = experts.gate_up_proj, experts.down_proj
    looped = experts._looped(x, routing.weights, routing.experts, *weights)
    torch.testing.assert_close(looped, expected, rtol=1e-4, atol=1e-4)
    single = experts._single(x[:1], routing.weights[:1], routing.experts[:1], *weights)
    torch.testing.assert_close(single, expected[:1], rtol=1e-4, atol=1e-4)
    narrow = [tensor.bfloat16() for tensor in (x, *weights)]
    grouped = experts._grouped(narrow[0], routing.weights, routing.experts, *narrow[1:])
    torch.testing.assert_close(grouped.float(), expected, rtol=0.05, atol=0.05 * float(expected.std()))


def test_gradients_reach_every_parameter(checkpoint: Path) -> None:
    model, _ = routed_layer(checkpoint)
    model.requires_grad_(True)
    ids = torch.randint(0, 320, (2, 64), generator=torch.Generator().manual_seed(1))
    hidden, load = model.hidden(ids, load=True)
    assert load is not None
    loss = F.cross_entropy(model.logits(hidden)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()) + 1e-4 * load.balance
    loss.backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not missing


@torch.inference_mode()
def test_counts_are_the_tokens_each_expert_received(checkpoint: Path) -> None:
    model, _ = routed_layer(checkpoint)
    ids = torch.randint(0, 320, (2, 30), generator=torch.Generator().manual_seed(2))
    _, load = model.hidden(ids, load=True)
    assert load is not None
    assert load.counts.shape == (2, 8)
    assert load.counts.sum(1).tolist() == [2 * 30 * 3] * 2
    before = [
        layer.mlp.gate.e_score_correction_bias.clone() for layer in model.model.layers if isinstance(layer.mlp, MoE)
    ]
    update_router_biases(model, load.counts, 0.01)
    layers = [layer for layer in model.model.layers if isinstance(layer.mlp, MoE)]
    for old, layer, counts in zip(before, layers, load.counts, strict=True):
        step = layer.mlp.gate.e_score_correction_bias - old
        assert (step[counts > counts.float().mean()] < 0).all()
        assert (step[counts < counts.float().mean()] > 0).all()


@torch.inference_mode()
def test_balance_is_one_for_an_even_load(checkpoint: Path) -> None:
    _, layer = routed_layer(checkpoint)
    even = layer.gate(torch.randn(8, 64))._replace(
        experts=torch.tensor([[n, (n + 1) % 8, (n + 2) % 8] for n in range(8)]), scores=torch.ones(8, 8)
    )
    assert abs(layer._load(even, 1).balance.item() - 1.0) < 1e-6


def test_active_parameters_leave_out_the_idle_experts(checkpoint: Path) -> None:
    model, _ = routed_layer(checkpoint)
    total, active = parameter_counts(model)
    one_expert = 3 * 64 * 32
    assert total == sum(parameter.numel() for parameter in model.parameters())
    assert total - active == 2 * (8 - 3) * one_expert


def test_grouped_experts_have_the_gradients_of_looped_ones(checkpoint: Path) -> None:
    _, layer = routed_layer(checkpoint)
    routing = layer.gate(torch.randn(40, 64, generator=torch.Generator().manual_seed(0)))
    x = torch.randn(40, 64, generator=torch.Generator().manual_seed(1))
    gradients = []
    for path in (layer.experts._looped, layer.experts._grouped):
        tensors = [x, routing.weights, layer.experts.gate_up_proj.detach(), layer.experts.down_proj.detach()]
        given, weights, gate_up, down = (tensor.clone().requires_grad_() for tensor in tensors)
        path(given, weights, routing.experts, gate_up, down).square().sum().backward()
        gradients.append([one.grad for one in (given, weights, gate_up, down)])
    for looped, grouped in zip(*gradients, strict=True):
        assert looped is not None and grouped is not None
        torch.testing.assert_close(grouped, looped, rtol=1e-4, atol=1e-5 * float(looped.std()))
