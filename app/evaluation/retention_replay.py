"""Forgetting with feedback: conversations follow one another as scopes of one user, and what is learned goes along.

After each session the store is cut to its budget of the words told so far. Then the questions
of that gap come: each falls into a random gap after the session that completed its evidence. The store answers from
the ten nearest of what it holds, and only those give labels: needed ones are cited, the others shown in vain. Evidence
that was not retrieved teaches nothing. What was cut leaves a ghost, its vector: one that is nearer to a question than
all that was kept comes back, after what was held has been counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.evaluation.retention_data import BUDGETS, Chat
from memory.retention.budget import density, keep
from memory.retention.features import NAMES, Floats, history
from memory.retention.heuristics import act_r, fsrs, generative_agents, lfu, lru, recency
from memory.retention.learner import Learner
from memory.retention.scorer import Scorer

RETRIEVED = 10
PARTS = 5
"""Parts of the replay, in order of its questions, whose means make the curve."""
_SEED = 11
HEURISTICS = ("random", "recency", "lru", "lfu", "generative_agents", "act_r", "fsrs")


@dataclass(slots=True)
class Store:
    """One conversation as told up to now."""

    chat: Chat
    count: int = 0
    now: float = 0.0
    active: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    uses: list[list[float]] = field(default_factory=list)
    unused: list[int] = field(default_factory=list)

    def tell(self, upto: int) -> None:
        self.active = np.r_[self.active, np.ones(upto - self.count, np.bool_)]
        self.uses += [[] for _ in range(upto - self.count)]
        self.unused += [0] * (upto - self.count)
        self.count, self.now = upto, self.chat.turns[upto - 1].at

    def features(self) -> Floats:
        """[count, F]"""
        past = [history(uses, unused, self.now) for uses, unused in zip(self.uses, self.unused, strict=True)]
        return np.hstack([self.chat.static(self.count), np.array(past)])

    def accesses(self) -> list[Floats]:
        """Writing, recalls by later turns and uses in answers, up to now."""
        told = [times[times <= self.now] for times in self.chat.accesses[: self.count]]
        return [np.sort(np.r_[times, uses]) for times, uses in zip(told, self.uses, strict=True)]

    def cut(self, worth: Floats, budget: float) -> None:
        words = self.chat.words[: self.count]
        here = np.flatnonzero(self.active)
        stays = keep(worth[here], words[here], budget * float(words.sum()))
        self.active[here[~stays]] = False

    def retrieve(self, question: int) -> NDArray[np.int64]:
        here = np.flatnonzero(self.active)
        cosines = self.chat.vectors[here] @ self.chat.asked[question]
        return here[np.argsort(-cosines, kind="stable")[:RETRIEVED]]

    def restore(self, question: int) -> None:
        """Bring back what was cut and is nearer to the question than anything that was kept."""
        cosines = self.chat.vectors[: self.count] @ self.chat.asked[question]
        best = float(cosines[self.active].max(initial=-1.0))
        self.active |= cosines > best


def arrivals(chat: Chat, rng: np.random.Generator) -> list[list[int]]:
    """The questions of each gap after a session, in a random one of those in which they can be answered."""
    sessions = chat.sessions
    gaps: list[list[int]] = [[] for _ in range(int(sessions[-1]) + 1)]
    for question, places in enumerate(chat.evidence()):
        gaps[int(rng.integers(int(sessions[places].max()), len(gaps)))].append(question)
    return gaps


def replay(chats: Sequence[Chat], policy: str, budget: float, prior: Scorer | None) -> Floats:
    """Fraction of evidence still held when its question came, question by question in order of time."""
    learner = Learner(prior, NAMES) if policy.startswith("ours") else None
    rng = np.random.default_rng(_SEED)
    shares: list[float] = []
    for chat in chats:
        gaps = arrivals(chat, np.random.default_rng(_SEED))
        evidence = chat.evidence()
        store = Store(chat)
        for session, questions in enumerate(gaps):
            store.tell(int(np.searchsorted(chat.sessions, session, side="right")))
            waiting = [question for later in gaps[session:] for question in later]
            store.cut(_worth(policy, store, learner, waiting, rng), budget)
            features = store.features() if learner is not None else None
            for question in questions:
                places = evidence[question]
                shares.append(float(store.active[places].mean()))
                if learner is not None and policy != "ours_without_ghosts":
                    store.restore(question)
                found = store.retrieve(question)
                cited = np.isin(found, places)
                for place, was_used in zip(found, cited, strict=True):
                    if was_used:
                        store.uses[place].append(store.now)
                    else:
                        store.unused[place] += 1
                if learner is not None and features is not None:
                    learner.add(features[found], cited.astype(np.float64))
            if learner is not None and policy != "ours_frozen":
                learner.learn()
    return np.array(shares)


def _worth(
    policy: str, store: Store, learner: Learner | None, waiting: Sequence[int], rng: np.random.Generator
) -> Floats:
    """[count]; `waiting` questions are for the clairvoyant alone."""
    if learner is not None:
        return density(learner.probability(store.features()), np.ones(store.count), store.chat.words[: store.count])
    if policy == "clairvoyant":
        worth = np.zeros(store.count)
        evidence = store.chat.evidence()
        for question in waiting:
            told = evidence[question][evidence[question] < store.count]
            worth[told] += 1.0 / len(evidence[question])
        return worth / store.chat.words[: store.count]
    accesses = store.accesses()
    if policy == "random":
        return rng.random(store.count)
    if policy == "recency":
        return recency(np.array([turn.at for turn in store.chat.turns[: store.count]]))
    if policy == "generative_agents":
        novelty = store.chat.written[: store.count, NAMES.index("novelty")]
        return generative_agents(accesses, novelty, store.now)
    if policy == "lru":
        return lru(accesses)
    if policy == "lfu":
        return lfu(accesses)
    return act_r(accesses, store.now) if policy == "act_r" else fsrs(accesses, store.now)


def replay_metrics(chats: Sequence[Chat], prior: Scorer) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Means and curves of the learned policy, and of every other."""
    metrics: dict[str, float] = {}
    baselines: dict[str, dict[str, float]] = {}
    for policy in ("ours", "ours_without_ghosts", "ours_frozen", "ours_without_prior", "clairvoyant", *HEURISTICS):
        start = None if policy == "ours_without_prior" else prior
        named: dict[str, float] = {}
        for budget in BUDGETS:
            shares = replay(chats, policy, budget, start)
            named[f"replay.kept@{budget:.2f}"] = float(shares.mean())
            parts = [float(part.mean()) for part in np.array_split(shares, PARTS) if len(part)]
            named |= {f"replay.part{number}@{budget:.2f}": mean for number, mean in enumerate(parts, 1)}
        if policy == "ours":
            metrics = named
        else:
            baselines[policy] = named
    return metrics, baselines
