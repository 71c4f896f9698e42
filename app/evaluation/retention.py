"""Does forgetting keep what later questions need? Policies evict to a budget of words; they never see a question.

`end`: everything is said, the store is cut once, then everything is asked. Learned scorers are trained on the other
conversations (leave one out). `replay`, in `retention_replay`: questions come between sessions and
are the only feedback.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.evaluation.retention_data import BUDGETS, Chat, read_chats
from app.evaluation.retention_replay import replay_metrics
from memory.retention.budget import EXPONENT, density, keep
from memory.retention.features import HISTORY, NAMES, Floats
from memory.retention.gate import calibration_error, log_loss
from memory.retention.groups import Episode, improve
from memory.retention.heuristics import act_r, fsrs, generative_agents, lfu, lru, recency
from memory.retention.model import shipped_prior
from memory.retention.scorer import Scorer, fit
from retrieval.embedder import load_embedder

_SEED = 7
_SAMPLES = 2000
_STABILITIES = (0.5, 2.3065, 10.0, 40.0, 160.0)
_DECAYS = (0.1, 0.1542, 0.3, 0.6)

Kept = dict[float, Floats]
"""For each budget the fraction of evidence kept, question by question."""


def evaluate(dataset: str, path: Path, **settings: Any) -> dict[str, Any]:
    """Evidence kept by the learned policy, and by each baseline, in the shape of `loci eval --json`.

    `settings`: `conversations` (how many to read), `embedder` (a reference, or a callable), `prior` (the name and path
    of another data set on which the replayed model is trained first; without one it begins from the shipped prior).

    :raises UnknownDataset: a data set cannot be read.
    """
    started = time.perf_counter()
    reference = settings.pop("embedder", "embedded")
    embed = reference if callable(reference) else load_embedder(reference).encode
    chats = read_chats(dataset, path, embed, settings.get("conversations"))
    scorers = leave_one_out(chats)
    policies = end_policies(chats, scorers)
    kept = {name: judge(chats, worth) for name, worth in policies.items()}
    metrics, baselines = _end_metrics(kept)
    metrics |= calibration(chats, scorers)
    elsewhere: tuple[str, Path] | None = settings.get("prior")
    prior = train(read_chats(elsewhere[0], elsewhere[1], embed)) if elsewhere else shipped_prior()
    replayed, replayed_baselines = replay_metrics(chats, prior)
    for name, values in replayed_baselines.items():
        baselines.setdefault(name, {}).update(values)
    return {
        "dataset": dataset,
        "items": sum(len(chat.questions) for chat in chats),
        "metrics": metrics | replayed,
        "baselines": baselines,
        "settings": {
            "conversations": len(chats),
            "budgets": list(BUDGETS),
            "exponent": EXPONENT,
            "prior": elsewhere[0] if elsewhere else "shipped",
        },
        "seconds": time.perf_counter() - started,
    }


def features_at_end(chat: Chat) -> Floats:
    """[N, F] when all is said and nothing has been asked."""
    return np.hstack([chat.static(), np.zeros((len(chat.turns), len(HISTORY)))])


def used(chat: Chat) -> Floats:
    """[N] whether any question needs the turn."""
    labels = np.zeros(len(chat.turns))
    for places in chat.evidence():
        labels[places] = 1.0
    return labels


def train(chats: Sequence[Chat], prior: Scorer | None = None) -> Scorer:
    """The scorer that these conversations and their questions teach."""
    features = np.vstack([features_at_end(chat) for chat in chats])
    return fit(features, np.concatenate([used(chat) for chat in chats]), names=NAMES, prior=prior)


def by_groups(chats: Sequence[Chat], scorer: Scorer) -> Scorer:
    """The scorer after the group-relative stage on these conversations."""
    episodes = [
        Episode(features_at_end(chat), chat.words, chat.evidence(), np.zeros(len(chat.turns), np.bool_))
        for chat in chats
        if chat.questions
    ]
    return improve(scorer, episodes, BUDGETS[1:3]) if episodes else scorer


def leave_one_out(chats: Sequence[Chat]) -> list[Scorer]:
    """For each conversation the scorer trained on the others."""
    return [train([other for other in chats if other is not chat] or [chat]) for chat in chats]


def heuristics(chat: Chat) -> dict[str, Floats]:
    """Worth [N] of each policy that has nothing to fit."""
    now = chat.turns[-1].at
    rng = np.random.default_rng(_SEED)
    novelty = chat.static()[:, NAMES.index("novelty")]
    return {
        "random": rng.random(len(chat.turns)),
        "recency": recency(np.array([turn.at for turn in chat.turns])),
        "lru": lru(chat.accesses),
        "lfu": lfu(chat.accesses),
        "generative_agents": generative_agents(chat.accesses, novelty, now),
        "act_r": act_r(chat.accesses, now),
    }


def clairvoyant(chat: Chat) -> Floats:
    """Worth [N] to one who knows the questions: the evidence that a turn holds, per word."""
    worth = np.zeros(len(chat.turns))
    for places in chat.evidence():
        worth[places] += 1.0 / len(places)
    return worth / chat.words


def fitted_fsrs(chats: Sequence[Chat]) -> tuple[float, float]:
    """Initial stability and decay under which FSRS, as a probability of use up to a scale, fits conversations best."""

    def loss(stability: float, decay: float) -> float:
        curve = np.concatenate([fsrs(chat.accesses, chat.turns[-1].at, stability, decay) for chat in chats])
        labels = np.concatenate([used(chat) for chat in chats])
        scale = min(labels.mean() / max(float(curve.mean()), 1e-9), 1.0 / float(curve.max()))
        return log_loss(scale * curve, labels)

    return min(((s, d) for s in _STABILITIES for d in _DECAYS), key=lambda pair: loss(*pair))


def end_policies(chats: Sequence[Chat], scorers: Sequence[Scorer]) -> dict[str, list[Floats]]:
    """Worth [N] of every turn of every conversation, by policy."""
    policies: dict[str, list[Floats]] = {}
    for index, (chat, scorer) in enumerate(zip(chats, scorers, strict=True)):
        p = scorer.probability(features_at_end(chat))
        one = np.ones(len(p))
        others = [other for place, other in enumerate(chats) if place != index] or [chat]
        worth = heuristics(chat) | {
            "fsrs_fitted": fsrs(chat.accesses, chat.turns[-1].at, *fitted_fsrs(others)),
            "clairvoyant": clairvoyant(chat),
            "ours": density(p, one, chat.words),
            "ours_by_probability": density(p, one, chat.words, 0.0),
            "ours_per_word": density(p, one, chat.words, 1.0),
            "ours_by_groups": density(by_groups(others, scorer).probability(features_at_end(chat)), one, chat.words),
        }
        for name, values in worth.items():
            policies.setdefault(name, []).append(values)
    return policies


def judge(chats: Sequence[Chat], worth: Sequence[Floats]) -> Kept:
    """Evict once to each budget, then ask everything."""
    kept: Kept = {}
    for budget in BUDGETS:
        shares = []
        for chat, values in zip(chats, worth, strict=True):
            mask = keep(values, chat.words, budget * float(chat.words.sum()))
            shares += [float(mask[places].mean()) for places in chat.evidence()]
        kept[budget] = np.array(shares)
    return kept


def _end_metrics(kept: Mapping[str, Kept]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    metrics = {f"end.kept@{budget:.2f}": float(kept["ours"][budget].mean()) for budget in BUDGETS}
    rivals = [name for name in kept if not name.startswith("ours") and name != "clairvoyant"]
    baselines = {
        name: {f"end.kept@{budget:.2f}": float(values[budget].mean()) for budget in BUDGETS}
        for name, values in kept.items()
        if name != "ours"
    }
    for budget in BUDGETS:
        best = max(rivals, key=lambda name, budget=budget: kept[name][budget].mean())  # type: ignore[misc]  # no type is inferred for a default in a lambda
        low, high = paired_interval(kept["ours"][budget] - kept[best][budget])
        metrics |= {f"end.lead_low@{budget:.2f}": low, f"end.lead_high@{budget:.2f}": high}
    return metrics, baselines


def paired_interval(differences: Floats) -> tuple[float, float]:
    """The 95% interval of the mean of paired differences, by the bootstrap over questions (Efron, 1979)."""
    rng = np.random.default_rng(_SEED)
    draws = rng.integers(0, len(differences), (_SAMPLES, len(differences)))
    low, high = np.quantile(differences[draws].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def calibration(chats: Sequence[Chat], scorers: Sequence[Scorer]) -> dict[str, float]:
    """Calibration error on held-out conversations, and the share of the base rate's log-loss that the scorers save."""
    p = np.concatenate([s.probability(features_at_end(chat)) for chat, s in zip(chats, scorers, strict=True)])
    labels = np.concatenate([used(chat) for chat in chats])
    rates = []
    for index, chat in enumerate(chats):
        others = [used(other) for place, other in enumerate(chats) if place != index] or [used(chat)]
        rates.append(np.full(len(chat.turns), float(np.concatenate(others).mean())))
    saved = 1.0 - log_loss(p, labels) / log_loss(np.concatenate(rates), labels)
    return {"calibration_error": calibration_error(p, labels), "log_loss_saved": saved}
