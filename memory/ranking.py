"""How candidates become what is recalled: relevance, fusion, order. Pure functions; the store finds the candidates."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from memory.settings import MemorySettings
from memory.types import Memory, Recalled

RRF = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

_LEANING = {"instruction": 0.15, "preference": 0.05, "fact": 0.0, "event": 0.0, "episode": -0.05}
"""What a kind adds to a cosine: a standing instruction matters to questions that it does not resemble."""
_PINNED = 0.1
_PAST = 0.5
"""What is left of the score of a statement that holds no longer."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate: cosine with the query, BM25 (higher is better), and the share of the query's words that it has."""

    memory: Memory
    dense: float | None
    lexical: float | None
    coverage: float = 0.0


def reciprocal_ranks(scores: Mapping[int, float]) -> dict[int, float]:
    """1 / (RRF + rank) for each id, the best score at rank 1; equal scores share the better rank."""
    order = sorted(scores, key=lambda key: -scores[key])
    ranks: dict[int, float] = {}
    for place, key in enumerate(order, 1):
        tied = place > 1 and scores[key] == scores[order[place - 2]]
        ranks[key] = ranks[order[place - 2]] if tied else 1 / (RRF + place)
    return ranks


def is_relevant(candidate: Scored, settings: MemorySettings) -> bool:
    """Whether a memory has to do with the query at all: by meaning, leaning on its kind, or by its words."""
    leaning = _LEANING[candidate.memory.kind] + (_PINNED if candidate.memory.pinned else 0.0)
    by_meaning = candidate.dense is not None and candidate.dense + leaning >= settings.min_similarity
    return by_meaning or (candidate.lexical is not None and candidate.coverage >= settings.min_coverage)


def rank(candidates: Sequence[Scored], settings: MemorySettings, limit: int) -> list[Recalled]:
    """Fuse, drop what is not relevant, put valid statements before those they superseded, and cut.

    A score is 1 for a fact that is first in both lists; ties go to the later memory.
    """
    dense = reciprocal_ranks({c.memory.id: c.dense for c in candidates if c.dense is not None})
    lexical = reciprocal_ranks({c.memory.id: c.lexical for c in candidates if c.lexical is not None})
    relevant = {c.memory.id for c in candidates if is_relevant(c, settings)}
    relevant |= _successors([c.memory for c in candidates], relevant)
    found: list[Recalled] = []
    for candidate in candidates:
        if candidate.memory.id not in relevant:
            continue
        memory = candidate.memory
        fused = (dense.get(memory.id, 0.0) + lexical.get(memory.id, 0.0)) * (RRF + 1) / 2
        weight = (1 + _LEANING[memory.kind]) * (1.0 if memory.valid_to is None else _PAST)
        found.append(Recalled(memory, fused * weight, candidate.dense, candidate.lexical))
    found.sort(key=lambda item: (-item.score, _reversed(item.memory.created), -item.memory.id))
    return valid_first(found)[:limit]


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


def _reversed(stamp: str) -> str:
    """A key under which the later of two stamps of one width sorts first."""
    return "".join(chr(0x10FFFF - ord(character)) for character in stamp)
