"""The evaluation of forgetting on conversations made here: what policies are told, and what they must never be."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.evaluation import retention_replay
from app.evaluation.conversations import UnknownDataset
from app.evaluation.retention import clairvoyant, end_policies, evaluate, judge, leave_one_out, paired_interval, used
from app.evaluation.retention_data import BUDGETS, read_chats
from tests.memory.conftest import word_embedding

FACTS = ("Last week I met Anna Berg in Oslo.", "On 4 May I bought a boat named Whimbrel for $900.")
CHATTER = ("Wow, that sounds great!", "How are you?", "Thanks, you too.", "Yeah, cool.")


@pytest.fixture
def beam(tmp_path: Path) -> Path:
    """Three chats of two sessions; questions need the facts, never the chatter."""
    for name in range(3):
        parts, asked, key = [], [], 0
        for session in range(2):
            rows = []
            for number in range(6):
                fact = number % 3 == 1
                text = f"{FACTS[number % 2]} {name}{session}{number}" if fact else CHATTER[(number + name) % 4]
                rows.append({"role": "user", "id": key, "content": text, "time_anchor": f"March-{session + 1:02}-2024"})
                rows.append({"role": "assistant", "id": key + 1, "content": "Noted.", "time_anchor": None})
                if fact:
                    asked.append({"question": f"What of {text}?", "source_chat_ids": {"first": [key, key + 1]}})
                key += 2
            parts.append({"turns": [rows], "batch_number": session})
        chat = {"chat": parts, "questions": {"extraction": asked, "abstention": [{"question": "What?"}]}}
        (tmp_path / f"{name}.json").write_text(json.dumps(chat))
    return tmp_path


def test_chats_hold_the_users_turns_and_questions_with_evidence(beam: Path) -> None:
    chats = read_chats("beam", beam, word_embedding)
    assert [len(chat.turns) for chat in chats] == [12, 12, 12]
    assert [len(chat.questions) for chat in chats] == [4, 4, 4]
    assert used(chats[0]).sum() == 4
    assert set(chats[0].sessions) == {0, 1}
    assert chats[0].turns[6].at - chats[0].turns[0].at == pytest.approx(1, abs=0.1)


def test_the_learned_policy_keeps_what_is_asked_about(beam: Path) -> None:
    chats = read_chats("beam", beam, word_embedding)
    policies = end_policies(chats, leave_one_out(chats))
    kept = {name: judge(chats, worth)[0.5].mean() for name, worth in policies.items()}
    assert kept["ours"] > max(kept["random"], kept["recency"])
    assert kept["clairvoyant"] >= kept["ours"]


def test_policies_other_than_the_clairvoyant_are_blind_to_questions(beam: Path) -> None:
    chats = read_chats("beam", beam, word_embedding)
    scorers = leave_one_out(chats)
    seen = end_policies(chats, scorers)
    for chat in chats:
        object.__setattr__(chat, "questions", ())  # a policy that reads them would now decide otherwise
    assert not clairvoyant(chats[0]).any()
    again = end_policies(chats, scorers)
    for name in set(seen) - {"clairvoyant", "fsrs_fitted", "ours_by_groups"}:  # fitted to the other conversations
        assert all(np.array_equal(a, b) for a, b in zip(seen[name], again[name], strict=True)), name


def test_a_question_comes_only_after_its_evidence(beam: Path) -> None:
    chat = read_chats("beam", beam, word_embedding)[0]
    for gap, questions in enumerate(retention_replay.arrivals(chat, np.random.default_rng(1))):
        for question in questions:
            assert chat.sessions[chat.evidence()[question]].max() <= gap


def test_in_the_replay_what_is_not_retrieved_teaches_nothing(beam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chats = read_chats("beam", beam, word_embedding)
    shown: list[float] = []

    def none_found(store: retention_replay.Store, question: int) -> np.ndarray:
        return np.zeros(0, np.int64)

    monkeypatch.setattr(retention_replay.Store, "retrieve", none_found)
    monkeypatch.setattr(retention_replay.Learner, "add", lambda self, features, used: shown.extend(used))
    retention_replay.replay(chats, "ours", 0.5, None)
    assert not shown


def test_a_ghost_that_a_question_hits_comes_back(beam: Path) -> None:
    chat = read_chats("beam", beam, word_embedding)[0]
    store = retention_replay.Store(chat)
    store.tell(6)
    place = int(chat.evidence()[0][0])
    store.active[place] = False
    store.restore(0)
    assert store.active[place]


def test_evaluate_reports_every_budget_and_policy(beam: Path) -> None:
    result = evaluate("beam", beam, embedder=word_embedding, prior=("beam", beam))
    assert result["items"] == 12
    for budget in BUDGETS:
        assert 0 <= result["metrics"][f"end.kept@{budget:.2f}"] <= 1
        assert 0 <= result["metrics"][f"replay.kept@{budget:.2f}"] <= 1
    both = {"random", "recency", "lru", "lfu", "generative_agents", "act_r", "clairvoyant"}
    assert all({"end.kept@0.10", "replay.kept@0.10"} <= set(result["baselines"][name]) for name in both)
    assert "end.kept@0.10" in result["baselines"]["fsrs_fitted"]


def test_an_unknown_set_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match="no memory dataset"):
        read_chats("other", tmp_path, word_embedding)
    with pytest.raises(UnknownDataset, match="no JSON file"):
        read_chats("beam", tmp_path, word_embedding)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UnknownDataset, match=r"bad\.json"):
        read_chats("beam", tmp_path, word_embedding)


def test_the_interval_of_equal_pairs_is_nothing_and_of_clear_ones_above_zero() -> None:
    assert paired_interval(np.zeros(10)) == (0.0, 0.0)
    assert paired_interval(np.r_[np.ones(30), -np.ones(5)])[0] > 0
