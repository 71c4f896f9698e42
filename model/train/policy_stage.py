"""A stage of group-relative policy optimisation: answer, compare within groups, update; and keep it only if it wins.

The selection biases of the experts stay as they are: a step of theirs would change the policy where no gradient sees
it, and move it away from the reference by itself. So do the predictors, which answers of a few tokens teach little.

B questions, G answers to each, M tokens of all answers of a micro-batch.
"""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.deepseek import DeepseekForCausalLM
from model.train.group import Group
from model.train.optimizer import Optimizer
from model.train.policy import Packed, advantages, divergence, log_probabilities, pack, surrogate
from model.train.questions import Question, Questions
from model.train.recipe import Policy, Stage
from model.train.rewards import Judgement, judge, reward, summary
from model.train.rollout import Groups, sample_groups
from model.train.rows import KINDS
from model.train.runlog import Entry

_SURE = 2.0
"""Standard errors by which the held-out reward must have risen."""


@dataclass(frozen=True, slots=True)
class _Micro:
    """Rows of questions, and what is known of their M tokens before the update."""

    packed: Packed
    gains: Tensor
    """float32 [M]: the advantage of the answer that a token belongs to"""
    reference: Tensor
    """float32 [M]: log-probabilities under the model that the stage began with"""
    then: Tensor | None
    """float32 [M]: under the policy that sampled; None where that is still the policy itself"""


@dataclass(slots=True)
class _Since:
    """What the rounds since the last line of the log add up to, in this process."""

    began: float
    judged: list[Judgement] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    telling: int = 0
    """Groups whose answers differ in worth"""
    read: int = 0
    """Tokens of prompts and answers"""
    answers: int = 0
    """Tokens of answers"""
    tokens: Tensor | float = 0.0
    """Answers' tokens of telling groups, and over them:"""
    divergence: Tensor | float = 0.0
    clipped: Tensor | float = 0.0


class PolicyStage:
    """The rounds of one stage, over a model that it changes.

    :param held_out: questions that no round asks, in parts that are `KINDS`.
    :param saved: what `state` returned, to go on from there.
    """

    def __init__(
        self,
        model: DeepseekForCausalLM,
        stage: Stage,
        questions: Questions,
        held_out: Questions,
        seed: int,
        group: Group | None = None,
        saved: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.stage, self.questions, self.seed = model, stage, questions, seed
        self.terms: Policy = stage.policy
        self.group = group or Group()
        self.device = model.model.embed_tokens.weight.device
        self.ends = torch.tensor(questions.ends(), device=self.device)
        self.held_out = held_out.all()
        self.optimizer = Optimizer(model, predictors=False)
        self.reference = copy.deepcopy(model).requires_grad_(False)
        self._since = _Since(time.monotonic())
        self.before: list[float] = []
        """Reward of each held-out question's answer when the stage began"""
        if saved is not None:
            self.reference.load_state_dict(saved["reference"])
            self.optimizer.load(saved["optimizer"])
            self.before = saved["before"]

    def state(self) -> dict[str, Any]:
        """What the next round depends on, beside the model and the number of the round."""
        return {
            "reference": self.reference.state_dict(),
            "optimizer": self.optimizer.state(),
            "before": self.before,
        }

    def measure(self, number: int) -> Entry | None:
        """What greedy answers to the held-out questions are worth before round `number`, where that is due."""
        if number % self.terms.measure_every:
            return None
        judged = self._answer()
        if number == 0:
            self.before = self._worth(judged)
        return self._summary(judged)

    def step(self, number: int, factor: float) -> float:
        """A round of questions, with the learning rates times `factor`; the mean norm of its gradients."""
        with _plain(self.device):
            # 1. Answers of the present policy, and what they are worth.
            first = number * self.terms.questions
            asked = self.questions.draw(range(first + self.group.rank, first + self.terms.questions, self.group.size))
            groups = self._sample(asked, number)
            worth = self._judge(asked, groups)
            gains = advantages(worth, self.terms.scaled)  # [B, G]
            # 2. Where all answers of a group are worth the same, nothing tells them apart: it is not read again.
            differ = worth.amax(-1) > worth.amin(-1)
            telling = differ.nonzero()[:, 0].tolist()
            self._since.telling += len(telling)
            updates = [
                self._prepare(
                    [asked[one] for one in telling[part :: self.terms.updates]],
                    [groups[one] for one in telling[part :: self.terms.updates]],
                    gains[telling[part :: self.terms.updates]],
                    moved=part > 0,
                )
                for part in range(self.terms.updates)
            ]
            # 3. Update on each share in turn.
            norms = [self._update(micros, factor) for micros in updates]
        return sum(norms) / len(norms)

    def finish(self) -> Entry:
        """Keep what was learned if held-out answers are worth more than before beyond chance; else take it back."""
        judged = self._answer()
        differences = torch.tensor(self._worth(judged)) - torch.tensor(self.before)
        gain, error = float(differences.mean()), float(differences.std()) / math.sqrt(len(differences))
        kept = bool(self.group.agree(float(gain > _SURE * error), self.device))
        if not kept:
            self.model.load_state_dict(self.reference.state_dict())
        before = round(sum(self.before) / len(self.before), 4)
        after = self._summary(judged)
        return {"kept": kept, "reward_before": before, "gain": round(gain, 4), "gain_error": round(error, 4)} | after

    def entry(self) -> Entry:
        """Means over the rounds since the last entry, of this process's questions; sampled answers."""
        since, self._since = self._since, _Since(time.monotonic())
        rows = [one.row for one in since.asked for _ in range(self.terms.group)]
        tokens = max(float(since.tokens), 1.0)
        return summary(since.judged, rows, self.terms.rewards) | {
            "telling": round(since.telling / max(len(since.asked), 1), 4),
            "answer_tokens": round(since.answers / max(len(since.judged), 1), 2),
            "divergence": round(float(since.divergence) / tokens, 5),
            "clipped": round(float(since.clipped) / tokens, 5),
            "tokens_per_second": round(self.group.size * since.read / max(time.monotonic() - since.began, 1e-9)),
        }

    # --- A round

    def _sample(self, asked: Sequence[Question], number: int) -> Groups:
        generator = torch.Generator(self.device)
        generator.manual_seed((self.seed << 32) + number * self.group.size + self.group.rank)
        return self._answers(asked, self.terms.group, generator)

    def _judge(self, asked: Sequence[Question], groups: Groups) -> Tensor:
        """Rewards, float32 [B, G]."""
        rows = [one.row for one in asked for _ in range(self.terms.group)]
        answers = [one for group in groups for one in group]
        judged = [judge(text, row) for text, row in zip(self.questions.decode(answers), rows, strict=True)]
        self._since.judged += judged
        self._since.asked += asked
        self._since.answers += sum(map(len, answers))
        self._since.read += sum(len(one.prompt) for one in asked) + sum(map(len, answers))
        return torch.tensor(self._worth(judged), device=self.device).view(len(asked), -1)

    @torch.no_grad()
    def _prepare(self, asked: Sequence[Question], groups: Groups, gains: Tensor, moved: bool) -> list[_Micro]:
        """Micro-batches of one update. `moved`: whether there will have been updates since the answers were sampled."""
        lengths = [len(one.prompt) + sum(map(len, group)) for one, group in zip(asked, groups, strict=True)]
        micros = []
        for chosen in _alike(lengths, self.stage.micro_tokens):
            packed = pack([asked[one].prompt for one in chosen], [groups[one] for one in chosen])
            answers = torch.from_numpy(packed.answers).to(self.device)
            reference = log_probabilities(self.reference, packed)
            then = log_probabilities(self.model, packed) if moved else None
            micros.append(_Micro(packed, gains[chosen].flatten()[answers], reference, then))
        return micros

    def _update(self, micros: list[_Micro], factor: float) -> float:
        """One optimizer step on the mean over all answers of the update, those of dropped groups counted."""
        answers = self.terms.questions // self.terms.updates * self.terms.group
        for micro in micros:
            now = log_probabilities(self.model, micro.packed)
            then = now.detach() if micro.then is None else micro.then
            away = divergence(now, micro.reference)
            gained = surrogate(now, then, micro.gains, self.terms.clip)
            loss = (self.terms.kl_weight * away - gained).sum() / answers
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._since.tokens += len(now)
            self._since.divergence += away.detach().sum()
            self._since.clipped += ((now.detach() - then).exp() - 1).abs().gt(self.terms.clip).sum()
        if not self.group.add(torch.tensor(float(len(micros)), device=self.device)):
            return 0.0  # Muon would take a whole step from no gradient
        for parameter in self.optimizer.parameters:
            if parameter.grad is None:  # nothing was telling here, but in another process
                parameter.grad = torch.zeros_like(parameter)
        self.group.add_gradients(self.optimizer.parameters)
        stage = self.stage
        return float(self.optimizer.step(factor * stage.muon_rate, factor * stage.adam_rate, stage.weight_decay))

    # --- Held-out questions

    def _answer(self) -> list[Judgement]:
        """Greedy answers to all held-out questions."""
        with _plain(self.device):
            answers = [group[0] for group in self._answers(self.held_out, 1, None)]
        texts = self.questions.decode(answers)
        return [judge(text, one.row) for text, one in zip(texts, self.held_out, strict=True)]

    def _answers(self, asked: Sequence[Question], group: int, generator: torch.Generator | None) -> Groups:
        found: dict[int, list[list[int]]] = {}
        for chosen in _alike([len(one.prompt) for one in asked], _READ * self.stage.micro_tokens):
            prompts = [asked[one].prompt for one in chosen]
            groups = sample_groups(self.model, prompts, group, self.terms.answer_tokens, self.ends, generator)
            found |= zip(chosen, groups, strict=True)
        return [found[number] for number in range(len(asked))]

    def _worth(self, judged: Sequence[Judgement]) -> list[float]:
        return [reward(one, self.terms.rewards) for one in judged]

    def _summary(self, judged: list[Judgement]) -> Entry:
        """Of all, and the reward of each kind of question."""
        entry: Entry = dict(summary(judged, [one.row for one in self.held_out], self.terms.rewards))
        worth = self._worth(judged)
        for number, kind in enumerate(KINDS):
            own = [value for value, one in zip(worth, self.held_out, strict=True) if one.part == number]
            entry[f"reward_{kind}"] = round(sum(own) / max(len(own), 1), 4)
        return entry


_READ = 2
"""How many more tokens fit a pass that keeps nothing for gradients."""


def _alike(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """All numbers, in groups of similar length that take `tokens` at most when filled up to their longest."""
    groups: list[list[int]] = [[]]
    for number in sorted(range(len(lengths)), key=lambda one: lengths[one]):
        if groups[-1] and lengths[number] * (len(groups[-1]) + 1) > tokens:
            groups.append([])
        groups[-1].append(number)
    return groups if groups[0] else []


@contextmanager
def _plain(device: torch.device) -> Iterator[None]:
    """Run layers as they are written: no shape comes twice, and neither a compilation nor cuDNN's plan would pay."""
    with ExitStack() as stack:
        stack.enter_context(cast(Any, torch.compiler.set_stance("force_eager")))
        if device.type == "cuda":
            stack.enter_context(sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]))
        yield
