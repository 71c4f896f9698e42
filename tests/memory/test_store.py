"""The store on a real file: writing, recall, scopes, conversations, feedback, in and out."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from memory.errors import NoSuchMemory, NoSuchSession
from memory.schema import exposures
from memory.store import MemoryStore
from memory.types import Memory, Recalled, Source
from retrieval.sqlite import reading
from tests.memory.conftest import word_embedding

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TOLD = Source("command")


def shown(*memories: Memory) -> list[Recalled]:
    return [Recalled(memory, 1.0, 1.0, None) for memory in memories]


def texts(found: object) -> list[str]:
    return [item.memory.text for item in found]  # type: ignore[attr-defined]


def test_what_is_told_is_recalled_and_what_is_unrelated_is_not(store: MemoryStore) -> None:
    store.add("My office is in B12", source=TOLD)
    [found] = store.recall("Where is my office?", scopes=["main"])
    assert found.memory.text == "My office is in B12"
    assert found.dense is not None
    assert found.lexical is not None
    assert store.recall("tide tables of Oslo", scopes=["main"]) == []
    assert store.recall("  ", scopes=["main"]) == []


def test_of_a_long_question_both_ends_are_sought(store: MemoryStore) -> None:
    store.add("My office is in B12", source=TOLD)
    pasted = "... " * 1500
    for question in (f"Where is my office? {pasted}", f"{pasted} Where is my office?"):
        assert store.recall(question, scopes=["main"])[0].lexical is not None
    start = time.process_time()
    store.recall("".join(chr(point) for point in range(0x30000) if not 0xD800 <= point < 0xE000), scopes=["main"])
    assert time.process_time() - start < 1.5


def test_nothing_of_one_scope_is_found_in_another(store: MemoryStore) -> None:
    here = store.add("My office is in B12", scope="work", source=TOLD)
    there = store.add("My office is in B12", scope="home", source=TOLD)
    assert here.id != there.id
    store.add("My office is in C3", scope="home", source=TOLD)
    assert [r.memory.id for r in store.recall("office B12", scopes=["work"])] == [here.id]
    assert store.get(here.id).valid_to is None
    assert store.recall("office B12", scopes=["main"]) == []
    assert store.recall("office B12", scopes=[]) == []
    session = store.start_session("work")
    store.begin_turn(session, "Where is my office?")
    assert store.search_turns("office", ["home"]) == []
    assert len(store.search_turns("office", ["work"])) == 1
    assert store.sessions(["home"]) == []


def test_duplicates_return_the_memory_that_says_it_already(store: MemoryStore) -> None:
    first = store.add("My office is in B12", source=TOLD)
    assert store.add("my office is in B12.", source=TOLD).id == first.id
    assert store.add("My office is really in B12", source=TOLD).id == first.id
    assert store.add("The rent is 900", source=TOLD).id != store.add("The rent is 950", source=TOLD).id
    assert store.why(first.id)["confirmations"] == 2


def test_a_changed_fact_supersedes_and_both_are_kept(store: MemoryStore) -> None:
    old = store.add("My office is in B12", source=TOLD, now=NOW)
    new = store.add("My office is in C3", source=TOLD, now=NOW + timedelta(days=1))
    past = store.get(old.id)
    assert (past.state, past.valid_to, past.superseded_by) == ("active", "2026-11-24T12:00:00.000Z", new.id)
    # The query has the old value's words, and still the valid row comes first.
    assert texts(store.recall("Is my office in B12?", scopes=["main"])) == ["My office is in C3", "My office is in B12"]
    again = store.add("My office is in B12", source=TOLD, now=NOW + timedelta(days=2))
    assert again.id not in (old.id, new.id)
    assert store.get(new.id).superseded_by == again.id


def test_a_fact_of_the_past_told_late_does_not_overrule_the_present(store: MemoryStore) -> None:
    new = store.add("I live in Rome", source=TOLD, now=NOW)
    old = store.add("I live in Oslo", source=TOLD, now=NOW - timedelta(days=9))
    assert (old.superseded_by, old.valid_to) == (new.id, new.valid_from)
    assert store.get(new.id).valid_to is None


def test_the_valid_row_is_recalled_even_if_only_the_old_one_matches(store: MemoryStore) -> None:
    store.add("My office is in the tower by the windy northern harbour quay", source=TOLD)
    store.add("My office moved to C3", source=TOLD)
    assert texts(store.recall("windy northern harbour quay tower", scopes=["main"], limit=1)) == [
        "My office moved to C3"
    ]


def test_edit_keeps_the_old_wording_out_of_recall_and_restore_undoes_it(store: MemoryStore) -> None:
    old = store.add("My dog is called Rx", source=TOLD)
    store.pin(old.id, True)
    new = store.edit(old.id, "My dog is called Rex")
    assert (new.pinned, store.get(old.id).state, store.get(old.id).superseded_by) == (True, "archived", new.id)
    assert texts(store.recall("dog called", scopes=["main"])) == ["My dog is called Rex"]
    assert store.edit(new.id, "My dog is called Rex").id == new.id
    store.restore(old.id)
    assert store.get(new.id).state == "archived"
    assert texts(store.recall("dog called", scopes=["main"])) == ["My dog is called Rx"]


def test_a_forgotten_memory_is_not_recalled_until_restored(store: MemoryStore) -> None:
    one = store.add("My office is in B12", source=TOLD)
    assert store.forget(one.id).state == "tombstone"
    assert store.recall("office B12", scopes=["main"]) == []
    assert store.list() == []
    assert [m.id for m in store.list(states=["tombstone"])] == [one.id]
    store.restore(one.id)
    assert texts(store.recall("office B12", scopes=["main"])) == ["My office is in B12"]


def test_unknown_numbers_and_empty_texts_are_refused_in_words(store: MemoryStore) -> None:
    for call in (store.get, store.forget, store.restore, store.purge, store.why, store.pin):
        with pytest.raises(NoSuchMemory, match="no memory 7"):
            call(7)
    with pytest.raises(ValueError, match="empty"):
        store.add(" ", source=TOLD)
    for call in (store.session, store.turns, store.delete_session, store.export_session):
        with pytest.raises(NoSuchSession):
            call(7)
    with pytest.raises(NoSuchSession):
        store.begin_turn(7, "hello")


def test_columns_equal_a_plain_scan(store: MemoryStore, opener: Callable[..., MemoryStore]) -> None:
    words = ["harbour", "crane", "quay", "tide", "lamp", "rope", "sail", "anchor", "mast", "keel"]
    rng = np.random.default_rng(0)
    other = opener()
    for number in range(30):
        text = " ".join(rng.choice(words, 4)) + f" {number}"
        (store if number % 2 else other).add(text, scope=str(rng.choice(["a", "b"])), source=TOLD)
        store.recall("harbour", scopes=["a"])  # the cache catches up step by step
    store.forget(7)
    query = "harbour crane"
    found = store.recall(query, scopes=["a"], limit=60)
    vector = store.embed([query])[0]
    rows = {row.id: row for row in store.list(scopes=["a"])}
    plain = dict(zip(rows, (store.embed([row.text for row in rows.values()]) @ vector).tolist(), strict=True))
    assert {item.memory.id for item in found} == {
        key for key, cosine in plain.items() if cosine >= 0.3 or all(w in rows[key].text for w in query.split())
    }
    for item in found:
        assert item.dense == pytest.approx(plain[item.memory.id], abs=1e-6)
        assert (item.lexical is None) == (not any(word in item.memory.text for word in query.split()))
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)


def conversation(store: MemoryStore, *said: tuple[str, str]) -> list[int]:
    """Store what several people said in one session; returns the ids."""
    session = store.start_session()
    return [
        store.add(text, kind="episode", source=Source("told", session, speaker=who), now=NOW + timedelta(minutes=n)).id
        for n, (who, text) in enumerate(said)
    ]


def test_an_answer_is_found_by_the_question_before_it(store: MemoryStore) -> None:
    apart = store.add("On Tuesdays, kettle in the shop", kind="episode", source=TOLD).id
    asked, answer, thanks = conversation(
        store, ("Ada", "Which pottery?"), ("Ben", "On Tuesdays, kettle in hand"), ("Ada", "Nice of them")
    )
    found = store.recall("pottery kettle Tuesdays", scopes=["main"])
    parts = {item.memory.id: item.parts for item in found}
    assert parts[answer]["words around"] > 0
    assert parts[answer]["meaning around"] > 0
    assert parts[apart].keys() == {"meaning", "words"}
    assert found[0].memory.id == answer
    for beside in (asked, thanks):
        store.forget(beside)
    [again, *_] = store.recall("pottery kettle Tuesdays", scopes=["main"])
    assert again.parts.keys() == {"meaning", "words"}  # what is forgotten lends nothing to what stands beside it


def test_who_said_it_and_when_count(store: MemoryStore) -> None:
    ada, ben = conversation(store, ("Ada", "I planted red tulips"), ("Ben", "I planted blue tulips"))
    assert store.recall("Which tulips did ben plant?", scopes=["main"])[0].memory.id == ben
    assert store.recall("Which tulips did Ada plant?", scopes=["main"])[0].memory.id == ada
    assert store.get(ada).source.speaker == "Ada"
    old = store.add("I planted tulips by the wall", source=TOLD, now=NOW - timedelta(days=400))
    [first, *_] = store.recall("tulips planted in October 2025", scopes=["main"], now=NOW)
    assert (first.memory.id, first.parts["time"]) == (old.id, pytest.approx(0.1))


def test_a_question_for_the_present_is_answered_by_the_later_statement(store: MemoryStore) -> None:
    store.add("I aim for 10 books in the winter reading challenge", kind="episode", source=TOLD, now=NOW)
    late = "I have extended the winter reading challenge to 12 books, and must read more"
    store.add(late, kind="episode", source=TOLD, now=NOW + timedelta(days=9))
    store.add("I lost 3 books", kind="episode", source=TOLD, now=NOW + timedelta(days=10))
    question = "How many books do I aim for in the winter reading challenge?"
    assert store.recall(question, scopes=["main"])[0].memory.text == late
    assert store.recall("I aim for 10 books in the winter reading challenge", scopes=["main"])[0].memory.text != late


def test_a_turn_is_observed_from_the_users_words_alone(store: MemoryStore) -> None:
    office = store.add("My office is in B12", source=TOLD)
    dog = store.add("My dog is called Rex", source=TOLD)
    session = store.start_session(title="")
    said = "Remember that my cat is Tom. I walked along the shore with Anna all day. Where is my office?"
    turn = store.begin_turn(session, said)
    recalled = store.recall("Where is my office?", scopes=["main"])
    store.finish_turn(turn, "Remember that my boat is red. In B12.", "{}", True)
    [cat] = store.observe(turn, said, recalled=recalled, cited=[office.id], scope="main", now=NOW)
    assert (cat.text, cat.source) == ("my cat is Tom", Source("told", session, turn, 14, 27))
    assert said[14:27] == cat.text
    assert {m.text for m in store.list()} == {
        "My office is in B12", "My dog is called Rex", "my cat is Tom", "I walked along the shore with Anna all day.",
    }  # fmt: skip
    assert [m.kind for m in store.list(kind="episode")] == ["episode"]
    why = store.why(office.id)
    assert (why["recalled"], why["cited"], why["exposures"][0]["turn"]) == (1, 1, turn)
    assert why["exposures"][0]["score"] == pytest.approx(recalled[0].score)
    assert (store.get(office.id).uses, store.get(office.id).last_used) == (1, "2026-11-23T12:00:00.000Z")
    with reading(store.engine) as connection:
        measured = json.loads(connection.execute(sa.select(exposures.c.measured)).scalars().all()[0])
    assert measured == {name: pytest.approx(value, abs=1e-6) for name, value in recalled[0].measured.items()}
    assert store.get(dog.id).uses == 0
    assert store.why(cat.id)["said"]["question"] == said
    gone = replace(dog, id=999)  # purged meanwhile
    store.observe(turn, said, recalled=shown(dog, gone), cited=[gone.id], scope="main")
    assert store.why(dog.id)["cited"] == 0
    assert store.why(cat.id)["confirmations"] == 1


def test_forget_that_touches_only_what_says_exactly_that(store: MemoryStore) -> None:
    rome = store.add("I live in Rome", source=TOLD)
    anna = store.add("I live in Rome with Anna since spring", source=TOLD)
    turn = store.begin_turn(store.start_session(), "Forget that I live in Rome.")
    [gone] = store.observe(turn, "Forget that I live in Rome.", recalled=[], cited=[], scope="main")
    assert (gone.id, gone.state) == (rome.id, "tombstone")
    assert store.get(anna.id).state == "active"
    assert store.observe(turn, "Forget about the boat.", recalled=[], cited=[], scope="main") == []


def test_a_correction_supersedes_the_cited_memory_and_is_remembered(store: MemoryStore) -> None:
    wrong = store.add("My office is in B12", source=TOLD, now=NOW - timedelta(days=1))
    other = store.add("My dog is called Rex", source=TOLD)
    turn = store.begin_turn(store.start_session(), "Where is my office?")
    both = [wrong.id, other.id]
    store.observe(turn, "Where is my office?", recalled=shown(wrong, other), cited=both, scope="main")
    store.feedback(None, "correct", "My office is in C3", now=NOW)
    assert texts(store.recall("Where is my office?", scopes=["main"]))[0] == "My office is in C3"
    right = store.list()[0]
    assert (store.get(wrong.id).superseded_by, right.source) == (right.id, Source("told", 1, turn))
    assert store.get(other.id).valid_to is None
    store.feedback(turn, "good")
    assert store.stats()["feedback"] == {"correct": 1, "good": 1}
    with pytest.raises(ValueError, match="right answer"):
        store.feedback(turn, "correct")
    with pytest.raises(ValueError, match="no verdict"):
        store.feedback(turn, "fine")  # type: ignore[arg-type]
    with pytest.raises(NoSuchSession):
        store.feedback(99, "good")


def test_sessions_are_kept_listed_searched_and_exported(store: MemoryStore) -> None:
    session = store.start_session("main", now=NOW)
    turn = store.begin_turn(session, "Wo liegt 東京タワー?", now=NOW)
    store.update_turn(turn, "In To")
    assert (store.turns(session)[0].answer, store.turns(session)[0].complete) == ("In To", False)
    store.finish_turn(turn, "In Tokyo.", json.dumps({"answer": "In Tokyo."}), True)
    later = store.start_session("main", "Later", now=NOW + timedelta(hours=1))
    assert [s.id for s in store.sessions()] == [later, session]
    assert (store.session(session).title, store.session(session).turns) == ("Wo liegt 東京タワー?", 1)
    assert [hit.turn.id for hit in store.search_turns("東京", ["main"])] == [turn]
    [hit] = store.search_turns("Tokyo")
    assert "Tokyo" in hit.excerpt
    exported = json.loads(store.export_session(session))
    assert exported["turns"][0]["result"] == {"answer": "In Tokyo."}


def test_deleting_a_session_keeps_facts_without_provenance_and_leaves_none_of_its_words(
    store: MemoryStore, tmp_path: Path
) -> None:
    said = "My office is in B12. I walked along Zanzibarquay with Anna yesterday evening, alone."
    session = store.start_session()
    turn = store.begin_turn(session, said)
    store.finish_turn(turn, "Noted, Zanzibarquay it is.", '{"answer": "Zanzibarquay"}', True)
    [fact, *_] = store.observe(turn, said, recalled=[], cited=[], scope="main")
    extra = store.list()
    store.delete_session(session)
    assert store.sessions() == []
    assert store.get(fact.id).source == Source("extracted")
    assert store.search_turns("Zanzibarquay") == []
    assert all(m.kind != "episode" for m in store.list())
    assert len(extra) >= 2
    for event in store.list(kind="event"):
        store.purge(event.id)
    assert b"zanzibarquay" not in every_byte(tmp_path).lower()


def test_purge_leaves_no_byte_of_the_text(store: MemoryStore, tmp_path: Path) -> None:
    said = "Remember that my locker opens with Quetzalcoatl77. Thanks!"
    turn = store.begin_turn(store.start_session(), said)
    store.finish_turn(
        turn,
        "Locker: my locker opens with QUETZALCOATL77.",
        json.dumps({"a": ["my locker opens with Quetzalcoatl77"]}),
        True,
    )
    [secret] = store.observe(turn, said, recalled=[], cited=[], scope="main")
    store.add("Bob knows that my locker opens with Quetzalcoatl77 too", source=TOLD)
    kept = store.add("My office is in B12", source=TOLD)
    store.forget(secret.id)
    assert b"quetzalcoatl77" in every_byte(tmp_path).lower()
    receipt = store.purge(secret.id)
    assert (len(receipt.memories), receipt.turns) == (2, (turn,))
    assert b"quetzalcoatl77" not in every_byte(tmp_path).lower()
    vector = np.ascontiguousarray(store.embed([secret.text])[0], "<f4").tobytes()
    assert vector[:64] not in every_byte(tmp_path)
    assert store.turn(turn).question == "Remember that [forgotten]. Thanks!"
    assert json.loads(store.turn(turn).answer_json) == {"a": ["[forgotten]"]}
    assert texts(store.recall("office B12", scopes=["main"])) == [kept.text]
    assert store.check() == []


def every_byte(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_export_and_import_are_lossless_and_idempotent(
    store: MemoryStore, opener: Callable[..., MemoryStore], tmp_path: Path
) -> None:
    store.add("My office is in B12", source=TOLD, now=NOW)
    store.add("My office is in C3", source=TOLD, now=NOW + timedelta(days=1))
    dog = store.add("My dog is called Rex", source=TOLD, scope="home", now=NOW)
    store.pin(dog.id)
    store.forget(store.add("I like fish", kind="preference", source=TOLD, now=NOW).id)
    lines = [json.dumps(row) for row in store.export()]
    assert store.import_(lines).added == 0
    other = opener(folder=tmp_path / "other")
    report = other.import_([*lines, "", "not json", '{"kind": "fact"}', '{"text": "x", "created": "2026-01-01"}'])
    assert (report.added, report.unchanged) == (4, 0)
    assert [(bad.line, bad.reason.split(":")[0]) for bad in report.bad] == [
        (6, "not JSON"),
        (7, "text"),
        (8, "created"),
    ]
    assert other.import_(lines).unchanged == 4
    strip = ("id", "source", "superseded_by")
    plain = [[{k: v for k, v in row.items() if k not in strip} for row in one.export()] for one in (store, other)]
    assert plain[0] == plain[1]
    old = other.list(["main"])[-1]
    assert old.superseded_by is not None
    assert other.get(old.superseded_by).text == "My office is in C3"
    assert texts(other.recall("office B12", scopes=["main"]))[0] == "My office is in C3"
    assert other.import_([{"text": "A plain statement"}]).added == 1


def test_another_embedder_is_noticed_and_the_old_vectors_serve_until_all_are_made_anew(
    store: MemoryStore, opener: Callable[..., MemoryStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.import_([{"text": f"crate {number} is full"} for number in range(300)])
    other = opener(embedder="other words")
    [found, *_] = other.recall("crate 7", scopes=["main"])
    assert found.dense is None
    [problem] = other.check()
    assert "300 memories" in problem and "other words" in problem
    batches = []

    def embed_once(texts: Sequence[str]) -> np.ndarray:
        if batches:
            raise KeyboardInterrupt
        batches.append(len(texts))
        return word_embedding(texts)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(other, "embed", embed_once)
        other.reindex()
    assert store.recall("crate 290", scopes=["main"])[0].dense is not None  # the old index is whole
    assert store.recall("crate 7", scopes=["main"])[0].dense is not None
    assert store.check() == [] and "44 memories" in other.check()[0]
    seen: list[tuple[int, int]] = []
    other.reindex(lambda done, total: seen.append((done, total)))
    assert seen == [(256, 300), (300, 300)]  # it went on where it was
    assert other.check() == [] and "300 memories" in store.check()[0]
    assert other.recall("crate 7", scopes=["main"])[0].dense is not None


def test_full_text_out_of_step_is_found_and_rebuilt(store: MemoryStore) -> None:
    store.add("My office is in B12", source=TOLD)
    store.begin_turn(store.start_session(), "Where is it?")
    with store.engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM memories_fts")
        connection.exec_driver_sql("DELETE FROM turns_fts")
        connection.commit()
    assert len(store.check(fix=True)) == 2
    assert store.check() == []
    assert len(store.search_turns("where it is")) == 1
