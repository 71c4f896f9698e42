"""Which sequences the next step reads, and how much of each.

Every answer that runs gets its token first; what is left of the budget goes to prompts, in chunks, first come first
served. Where pages run out, the youngest sequence gives its own back and is read again later. Knows nothing about
models or tensors.
"""

from collections import deque
from dataclasses import dataclass, field

from model.blocks import Blocks, Copy
from model.cache import PAGE
from model.sequence import TokenSequence


@dataclass(slots=True)
class Plan:
    """One step: after the copies, the next `count` tokens of each sequence, drafts included."""

    reads: list[tuple[TokenSequence, int]] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)


class Scheduler:
    """Sequences that wait and that run, oldest first. One alone always fits: `blocks` hold a whole window."""

    def __init__(self, blocks: Blocks, chunk: int) -> None:
        """`chunk`: tokens of prompts that a step reads at most."""
        self.blocks = blocks
        self.chunk = chunk
        self._waiting: deque[TokenSequence] = deque()
        self._running: list[TokenSequence] = []

    def add(self, sequence: TokenSequence) -> None:
        self._waiting.append(sequence)

    def stop(self, sequence: TokenSequence) -> None:
        """Schedule `sequence` no more; it keeps its pages until they are closed."""
        if sequence in self._running:
            self._running.remove(sequence)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)

    def plan(self) -> Plan:
        """The next step; empty only where nothing waits or runs."""
        while True:
            plan = Plan()
            # 1. A token for every answer, older ones first: those that find no page are the youngest.
            for sequence in list(self._running):
                if sequence in self._running and sequence.pending == 1 and self._room(sequence):
                    plan.reads.append((sequence, 1 + len(sequence.drafts)))
            # 2. Prompts that are being read, then those that wait.
            budget = self.chunk
            for sequence in self._running:
                if sequence.pending > 1:
                    budget -= self._read(plan, sequence, budget)
            while budget > 0 and (waiting := self._next()) is not None:
                count = self._admit(plan, waiting, budget)
                if not count:
                    break
                budget -= count
            if plan.reads or not self._running:
                return plan
            # 3. Prompts hold all pages and none can go on.
            self._preempt()

    def _admit(self, plan: Plan, sequence: TokenSequence, budget: int) -> int:
        """Let `sequence` run, if there is a page for it; how many of its tokens are planned."""
        copy = self.blocks.open(sequence)
        held = sequence.held
        count = self._read(plan, sequence, budget)
        if not count:
            self.blocks.close(sequence)
            return 0
        if copy is not None:
            plan.copies.append(copy)
        if sequence.cached is None:
            sequence.cached = held
        self._waiting.remove(sequence)
        self._running.append(sequence)
        return count

    def _read(self, plan: Plan, sequence: TokenSequence, budget: int) -> int:
        """Plan as much of `sequence` as budget and pages allow; how many tokens that is."""
        room = (len(sequence.pages) + self.blocks.available) * PAGE - sequence.held
        count = min(budget, sequence.pending, room)
        if count > 0 and self.blocks.grow(sequence, sequence.held + count):
            plan.reads.append((sequence, count))
            return count
        return 0

    def _room(self, sequence: TokenSequence) -> bool:
        """Pages for the next tokens of `sequence`, from the youngest if need be; False where it gave up its own."""
        while not self.blocks.grow(sequence, len(sequence.tokens) + len(sequence.drafts)):
            if self._preempt() is sequence:
                return False
        return True

    def _preempt(self) -> TokenSequence:
        youngest = self._running.pop()
        self.blocks.close(youngest)
        self._waiting.appendleft(youngest)
        return youngest

    def _next(self) -> TokenSequence | None:
        """The first that waits and whose next page no other is about to fill: it will find that page computed."""
        return next((one for one in self._waiting if not self._is_coming(one)), None)

    def _is_coming(self, sequence: TokenSequence) -> bool:
        known = self.blocks.known(sequence)
        if len(sequence.tokens) - 1 < (known + 1) * PAGE:
            return False
        wanted = sequence.digest(known + 1)
        return any(
            other.held < (known + 1) * PAGE <= len(other.tokens) and other.digest(known + 1) == wanted
            for other in self._running
        )
