"""How candidates become what is recalled: relevance, score, order. Pure functions; `memory.recall` finds candidates.

A score is a sum of named terms, each a weight times what was measured, so that it can be explained and learned. Cosine
and coverage are absolute measures: unlike ranks they mean the same in a store of ten memories and of 100,000.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from memory.settings import MemorySettings
from memory.types import Memory, Recalled

WEIGHTS: Mapping[str, float] = {
    "meaning": 1.0,
    "meaning around": 0.1,
    "words": 0.5,
    "words around": 0.5,
    "speaker": 0.1,
    "time": 0.1,
}
"""Cosine with the query, the neighbours' cosines, coverage of the query's words, what the neighbours' words add to it,
and 1 where a person or time that the query names is that of the memory. Chosen on BEAM, which clearly prefers half a
coverage to a cosine, and is indifferent to neighbours (recall@10 within .01)."""

_LEANING = {"instruction": 0.15, "preference": 0.05, "fact": 0.0, "event": 0.0, "episode": -0.05}
"""What a kind adds to a cosine: a standing instruction matters to questions that it does not resemble."""
_PINNED = 0.1
_PAST = 0.5
"""What is left of the score of a statement that holds no longer."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate and what was measured of it: values by the names of `WEIGHTS`.

    `dense` and `lexical` are as in `Recalled`; `coverage` is the share of the query's words that the memory holds.
    """

    memory: Memory
    dense: float | None
    lexical: float | None
    coverage: float
    measured: Mapping[str, float]


def is_relevant(candidate: Scored, settings: MemorySettings) -> bool:
    """Whether a memory has to do with the query at all: by meaning, leaning on its kind, or by its words."""
    leaning = _LEANING[candidate.memory.kind] + (_PINNED if candidate.memory.pinned else 0.0)
    by_meaning = candidate.dense is not None and candidate.dense + leaning >= settings.min_similarity
    return by_meaning or (candidate.lexical is not None and candidate.coverage >= settings.min_coverage)


def rank(candidates: Sequence[Scored], settings: MemorySettings, weights: Mapping[str, float]) -> list[Recalled]:
    """Score, drop what is not relevant, put valid statements before those they superseded. Ties go to the later."""
    relevant = {c.memory.id for c in candidates if is_relevant(c, settings)}
    relevant |= _successors([c.memory for c in candidates], relevant)
    found = [_scored(c, weights) for c in candidates if c.memory.id in relevant]
    found.sort(key=lambda item: (item.memory.created, item.memory.id), reverse=True)
    found.sort(key=lambda item: -item.score)
    return valid_first(found)


def _scored(candidate: Scored, weights: Mapping[str, float]) -> Recalled:
    memory = candidate.memory
    factor = (1 + _LEANING[memory.kind]) * (1.0 if memory.valid_to is None else _PAST)
    measured = {name: factor * value for name, value in candidate.measured.items() if value}
    parts = {name: weights[name] * value for name, value in measured.items()}
    return Recalled(memory, sum(parts.values()), candidate.dense, candidate.lexical, parts, measured)


def valid_first(found: Sequence[Recalled]) -> list[Recalled]:
    """Move each statement that superseded others to just before the first of them; the rest keep their order."""
    by_id = {item.memory.id: item for item in found}
    placed: dict[int, Recalled] = {}
    for item in found:
        chain = [item]
        while (later := chain[-1].memory.superseded_by) in by_id and by_id[later] not in chain:
            chain.append(by_id[later])
        for link in reversed(chain):
            placed.setdefault(link.memory.id, link)
    return list(placed.values())


def _successors(memories: Sequence[Memory], ids: Set[int]) -> set[int]:
    """What superseded the memories `ids`, however many steps later: relevant because they are."""
    later = {memory.id: memory.superseded_by for memory in memories}
    found: set[int] = set()
    for key in ids:
        while (step := later.get(key)) is not None and step not in found:
            found.add(step)
            key = step
    return found
