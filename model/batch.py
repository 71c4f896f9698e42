"""All sequences that are open, advanced together: one step reads what is planned, draws, and drafts what may follow.

Knows nothing about text; a `Judge` decides what is drawn and when a sequence ends.

T tokens of a step, D hidden width, V vocabulary.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from model.runner import Runner
from model.sampling import Drawn, Sampler
from model.scheduler import Plan, Scheduler
from model.sequence import TokenSequence
from model.speculate import keep, verify
from model.step import Reading


class Judge(Protocol):
    """Whoever waits for a sequence's tokens."""

    sampler: Sampler

    @property
    def left(self) -> int:
        """Tokens that may still be drawn; 0 where the sequence has ended."""
        ...

    def read(self, held: int) -> None:
        """`held` tokens of the prompt are in the cache."""
        ...

    def accept(self, drawn: Sequence[Drawn], drafted: int) -> None:
        """Take these tokens, of which all but the last were among `drafted` drafts."""
        ...


class Batch:
    """Sequences with a judge are continued until it has enough; those without are read, and kept for their state."""

    def __init__(
        self, runner: Runner, scheduler: Scheduler, ends: frozenset[int], vocabulary: int, context: int, drafts: int
    ) -> None:
        """`vocabulary`: ids from there on have no text. `drafts`: tokens drafted before each pass."""
        self._runner, self._scheduler = runner, scheduler
        self._ends, self._vocabulary, self._context, self._drafts = ends, vocabulary, context, drafts
        self._judges: dict[TokenSequence, Judge] = {}

    def add(self, sequence: TokenSequence, judge: Judge | None = None) -> None:
        self._scheduler.add(sequence)
        if judge is not None:
            self._judges[sequence] = judge

    def remove(self, sequence: TokenSequence) -> None:
        """Take `sequence` out, whatever state it is in; what was read of it stays known."""
        self._judges.pop(sequence, None)
        self._scheduler.stop(sequence)
        self._scheduler.blocks.close(sequence)

    def close(self) -> None:
        """Let model and cache go; sequences can still be removed."""
        del self._runner

    @torch.inference_mode()
    def step(self) -> None:
        plan = self._scheduler.plan()
        if self._runner.advances(len(plan.reads), self._drafts) and self._plain(plan):
            self._advance(plan)
        else:
            self._step(plan)
        for sequence, _ in plan.reads:
            self._scheduler.blocks.record(sequence)

    def _plain(self, plan: Plan) -> bool:
        """Whether all of `plan` are sequences of which the next is the likeliest token."""
        judges = [self._judges.get(one) for one, _ in plan.reads if one.pending == 1]
        return len(judges) == len(plan.reads) and all(
            judge is not None and judge.left and judge.sampler.plain for judge in judges
        )

    def _advance(self, plan: Plan) -> None:
        """What `_step` does, by one piece of work on the device."""
        found = self._runner.advance(plan, self._drafts, self._vocabulary)
        for (sequence, _), tokens in zip(plan.reads, found, strict=True):
            complete, drafted = sequence.followed == sequence.held, sequence.drafts
            drawn = keep(tokens[: 1 + len(drafted)], drafted, self._ends)
            judge = self._judges[sequence]
            sequence.held += 1
            judge.read(sequence.held)
            sequence.held += len(drawn) - 1
            sequence.tokens += [one.token for one in drawn]
            sequence.drafts = []
            judge.accept(drawn, len(drafted))
            if not judge.left:
                self.remove(sequence)
            elif complete:
                sequence.followed = sequence.held
                sequence.drafts = tokens[1 + self._drafts :][: self._room(sequence)]

    def _step(self, plan: Plan) -> None:
        # 1. Read. Drafts lie in the cache beyond what counts as held until they are judged.
        hidden = self._runner.run(plan)  # [T, D]
        ends = accumulate(count for _, count in plan.reads)
        states = {one: hidden[end - count : end] for (one, count), end in zip(plan.reads, ends, strict=True)}
        for sequence, count in plan.reads:
            sequence.held += count - len(sequence.drafts)
        self._follow(states)
        # 2. Judge those that are read to their end.
        drawing: list[TokenSequence] = []
        for sequence, own in states.items():
            judge = self._judges.get(sequence)
            if judge is not None:
                judge.read(sequence.held)
            if sequence.pending == 0 and judge is not None and judge.left:
                drawing.append(sequence)
            elif sequence.pending == 0 and judge is not None:
                self.remove(sequence)
            elif sequence.pending == 0:
                sequence.last = own[-1:]
                self._scheduler.stop(sequence)
        if drawing:
            rows = {one: states[one][-1 - len(one.drafts) :] for one in drawing}
            found = verify(
                self.logits(torch.cat(list(rows.values()))),
                [self._judges[one].sampler for one in drawing],
                [one.drafts for one in drawing],
                self._ends,
            )
            going = []
            for sequence, drawn in zip(drawing, found, strict=True):
                drafted = len(sequence.drafts)
                sequence.held += len(drawn) - 1  # drafts that came are read already
                sequence.tokens += [one.token for one in drawn]
                sequence.drafts = []
                self._judges[sequence].accept(drawn, drafted)
                if self._judges[sequence].left:
                    going.append((sequence, len(drawn), rows[sequence][: len(drawn)]))
                else:
                    self.remove(sequence)
            # 3. Draft what may come next.
            self._draft(going)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[T, D] -> [T, V]. Embeddings may be padded beyond the tokenizer's vocabulary; such ids have no text."""
        return self._runner.logits(hidden)[:, : self._vocabulary]

    def _follow(self, states: dict[TokenSequence, Tensor]) -> None:
        """The predictor reads the prompts, too: each token's state with the token after it."""
        if not self._drafts:
            return
        readings, rows = [], []
        for sequence, own in states.items():
            start = sequence.held - len(own)
            after = sequence.tokens[start + 1 : sequence.held + 1]
            if len(after) and not sequence.drafts and start == sequence.followed:
                readings.append(Reading(after, start, sequence.pages))
                rows.append(own[: len(after)])
                sequence.followed = start + len(after)
        if readings:
            self._runner.follow(readings, torch.cat(rows))

    def _draft(self, drawn: list[tuple[TokenSequence, int, Tensor]]) -> None:
        """Likely tokens after the `count` last ones, whose preceding positions have the hidden states [count, D]."""
        by_number: dict[int, list[tuple[Reading, Tensor, TokenSequence]]] = {}
        for sequence, count, states in drawn:
            # Where a round of drafting was left out, the predictor's cache has a hole, and drafting ends.
            number = self._room(sequence) if sequence.followed == sequence.held - count else 0
            if number:
                reading = Reading(sequence.tokens[-count:], sequence.held - count, sequence.pages)
                by_number.setdefault(number, []).append((reading, states, sequence))
        for number, group in by_number.items():
            readings, states_of, sequences = zip(*group, strict=True)
            drafts = self._runner.draft(readings, torch.cat(states_of), number, self._vocabulary)
            for sequence, own in zip(sequences, drafts, strict=True):
                sequence.drafts = own
                sequence.followed = sequence.held

    def _room(self, sequence: TokenSequence) -> int:
        """How many tokens may be drafted after those of `sequence`."""
        left = self._judges[sequence].left
        number = min(self._drafts, left - 1, self._context - sequence.held - 1)
        if number > 0 and self._scheduler.blocks.grow(sequence, sequence.held + number - 1):
            return number
        return 0
