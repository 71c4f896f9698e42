"""Muon for the matrices, AdamW for embeddings, norms and routers (Jordan et al., 2024; Liu et al., 2025).

The state is a flat dictionary of tensors, so that a checkpoint restores it exactly.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from model.moe import Experts

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices of a batch [N, R, C], roughly: five quintic Newton-Schulz steps.

    Singular values land near 1 (within about 0.3), which is all that Muon needs. bfloat16 on a GPU.
    """
    a, b, c = _NEWTON_SCHULZ
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return result


class Muon:
    """Momentum, orthogonalised; each update has the root mean square of an AdamW update (0.2 times the rate).

    :param matrices: name and parameter [R, C], or [E, R, C] for stacked experts, which are taken one by one.
    """

    def __init__(self, matrices: Iterable[tuple[str, nn.Parameter]], momentum: float = 0.95) -> None:
        self.parameters = dict(matrices)
        self.momentum = momentum
        self.state = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def step(self, rate: float, weight_decay: float) -> None:
        # Matrices of one shape are orthogonalised together: few large products instead of many small ones.
        shapes: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, parameter in self.parameters.items():
            shapes[tuple(parameter.shape[-2:])].append(name)
        for (rows, columns), names in shapes.items():
            updates = []
            for name in names:
                gradient = self.parameters[name].grad
                assert gradient is not None, name
                momentum = self.state[name].mul_(self.momentum).add_(gradient)
                updates.append((gradient + self.momentum * momentum).view(-1, rows, columns))
            orthogonal = orthogonalize(torch.cat(updates))
            scale = 0.2 * max(rows, columns) ** 0.5
            split = torch.split(orthogonal, [len(one) for one in updates])
            for name, update in zip(names, split, strict=True):
                parameter = self.parameters[name]
                parameter.mul_(1 - rate * weight_decay).add_(update.view_as(parameter), alpha=-rate * scale)


class AdamW:
    """Adam with decoupled weight decay (on matrices only)."""

    def __init__(
        self, parameters: Iterable[tuple[str, nn.Parameter]], betas: tuple[float, float] = (0.9, 0.95)
    ) -> None:
        self.parameters = dict(parameters)
        self.betas = betas
        self.steps = 0
        self.first = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
        self.second = {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def step(self, rate: float, weight_decay: float) -> None:
        self.steps += 1
        slow, fast = 1 - self.betas[0] ** self.steps, 1 - self.betas[1] ** self.steps
        for name, parameter in self.parameters.items():
            assert parameter.grad is not None, name
            first = self.first[name].lerp_(parameter.grad, 1 - self.betas[0])
            second = self.second[name].lerp_(parameter.grad.square(), 1 - self.betas[1])
            if parameter.ndim > 1:
                parameter.mul_(1 - rate * weight_decay)
            parameter.addcdiv_(first / slow, (second / fast).sqrt_().add_(1e-8), value=-rate)


class Optimizer:
    """Both, over one model, with gradients clipped to norm 1."""

    def __init__(self, model: nn.Module, predictors: bool = True) -> None:
        """Without `predictors`, those of a model with multi-token prediction stay as they are."""
        stacked = {id(p) for module in model.modules() if isinstance(module, Experts) for p in module.parameters()}
        matrices: list[tuple[str, nn.Parameter]] = []
        others: list[tuple[str, nn.Parameter]] = []
        for name, parameter in model.named_parameters():
            if name.startswith("mtp.") and not predictors:
                continue
            by_muon = id(parameter) in stacked or name.endswith(("_proj.weight", "kv_a_proj_with_mqa.weight"))
            (matrices if by_muon else others).append((name, parameter))
        self.muon, self.adam = Muon(matrices), AdamW(others)
        self.parameters = [parameter for _, parameter in matrices + others]

    def step(self, muon_rate: float, adam_rate: float, weight_decay: float) -> Tensor:
        """Update and clear the gradients; the gradients' norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.muon.step(muon_rate, weight_decay)
        self.adam.step(adam_rate, weight_decay)
        for parameter in self.parameters:
            parameter.grad = None
        return norm

    def state(self) -> dict[str, object]:
        return {
            "muon": self.muon.state,
            "first": self.adam.first,
            "second": self.adam.second,
            "steps": self.adam.steps,
        }

    def load(self, state: dict[str, object]) -> None:
        for own, key in ((self.muon.state, "muon"), (self.adam.first, "first"), (self.adam.second, "second")):
            saved = state[key]
            assert isinstance(saved, dict) and saved.keys() == own.keys(), f"the checkpoint's {key} fits another model"
            for name, tensor in saved.items():
                own[name].copy_(tensor)
        steps = state["steps"]
        assert isinstance(steps, int)
        self.adam.steps = steps
