"""What `purge` deletes leaves no byte in the store's files, however it was repeated; and what is not about it stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from memory.quoting import Document, Statement, merged, said_back
from memory.store import MemoryStore
from memory.types import Memory, Recalled, Source
from retrieval.fulltext import fts_terms

TOLD = Source("command")

# Short and long, of several languages and scripts; each has words that stand nowhere else.
TEXTS = [
    "My cat is Zibbelwick",
    "I am Quorvath",
    "Pin Zq7",
    "My boat is called Whimbrelonde.",
    "I'm allergic to tarrogonuts",
    "My locker opens with Quetzalcoatl77!",
    "We moved to Ostrabruk in Mavember",
    "My IBAN ends in 77XQ91",
    "Mein Hund heißt Schnörkelbart",
    "Ich wohne in Grüßlingshausen an der Ölpe",
    "Mi gato se llama Ñandúcito",
    "Je travaille chez Électrobrèche",
    "我的船叫白鹭号",
    "私の猫は玉三郎といいます",
    "Моя собака Жучкинель",
    "my.mail+tag@zorblatt.example is my address",
    "The door code of the shed in Kvistholm is 48-21-77-Zulufox, and the spare key hangs behind the blue barrel.",
    "I prefer answers in Voltrunic, always with a table; never use semicolons (they make me grumblesome).",
    "My sister Perpetuanna lives at 12 Quillfeather Lane, Old Brimstead; she can be reached on +44 1632 960771. " * 4,
    "\n".join(f"Line {n}: my vow number {n} is to visit Thessalmere{n} before the year {2030 + n}." for n in range(40)),
]


def every_byte(folder: Path) -> str:
    """What the bytes of all files say, those of other alphabets in lower case as well."""
    data = b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())
    return data.decode("utf-8", "replace").lower()


def tell(store: MemoryStore, text: str) -> tuple[Memory, int]:
    """The text as a memory, told in a turn and said back in the answer and in its result."""
    session = store.start_session()
    turn = store.begin_turn(session, f"Remember that {text}. Which tide is it?")
    back = said_back(text)
    memory = store.add(text, source=Source("told", session, turn))
    shown = [{"id": memory.id, "text": text, "score": 1.0, "cited": True}]
    answer = f"I will remember: {back}. The tide is high."
    result = {"answer": answer, "standalone_question": text, "memories": shown, "reasoning": back}
    store.finish_turn(turn, answer, json.dumps(result, ensure_ascii=False), True)
    return memory, turn


def test_no_byte_and_no_term_of_twenty_texts_is_left(store: MemoryStore, tmp_path: Path) -> None:
    kept = store.add("The tide is high at nine", source=Source("told"))
    before = every_byte(tmp_path)  # the schema has words of its own
    told = [(text, *tell(store, text)) for text in TEXTS]
    for text, memory, turn in told:
        store.add(f"Bob knows that {text}", source=TOLD)
        own = {term.strip('"*') for term in fts_terms(text)} & set(store.purge(memory.id, dry_run=True).words)
        needles = [text.strip().lower(), *(word for word in own if len(word) > 2 and word not in before)]
        assert own and all(needle in every_byte(tmp_path) for needle in needles)
        purged = store.purge(memory.id)
        left = every_byte(tmp_path)
        assert [needle for needle in needles if needle in left] == [], text
        assert purged.turns == (turn,) and "tide is" in store.turn(turn).answer
        assert json.loads(store.turn(turn).answer_json)["memories"] == []
    assert [one.id for one in store.list()] == [kept.id]
    assert store.check() == []


def test_earlier_wordings_and_what_was_superseded_go_with_it(store: MemoryStore, tmp_path: Path) -> None:
    first = store.add("My office is in Brackenridge", source=TOLD)
    second = store.add("My office is in Thornholt", source=TOLD)
    assert store.get(first.id).superseded_by == second.id
    third = store.edit(second.id, "My office is in Thornholt tower")
    other = store.add("My dog is called Rex", source=TOLD)
    purged = store.purge(third.id)
    assert purged.memories == (first.id, second.id, third.id)
    assert [m.id for m in store.list(states=["active", "archived", "tombstone"])] == [other.id]
    assert not any(word in every_byte(tmp_path) for word in ("brackenridge", "thornholt"))


def test_a_dry_run_tells_what_would_go_and_deletes_nothing(store: MemoryStore) -> None:
    memory, turn = tell(store, "My boat is called Whimbrel")
    before = list(store.export()), store.turn(turn)
    told = store.purge(memory.id, dry_run=True)
    assert (list(store.export()), store.turn(turn)) == before
    assert store.purge(memory.id) == told
    assert (told.memories, told.turns, told.words) == ((memory.id,), (turn,), ("boat", "called", "whimbrel"))


def test_answers_that_used_it_in_other_words_lose_them_and_others_keep_theirs(store: MemoryStore) -> None:
    memory = store.add("My boat is called Whimbrel", source=TOLD)
    session = store.start_session()

    def turn(question: str, answer: str, cited: bool) -> int:
        made = store.begin_turn(session if cited else store.start_session(), question)
        store.finish_turn(made, answer, "", True)
        if cited:
            store.observe(made, question, recalled=[Recalled(memory, 1, 1, 1)], cited=[memory.id], scope="main")
        return made

    used = turn("What is she named?", "Her name is Whimbrel. It is raining.", cited=True)
    after = turn("And how long?", "The Whimbrel is nine metres.", cited=True)
    birds = turn("Which waders winter here?", "The curlew does. A boat was called for.", cited=False)
    store.purge(memory.id)
    assert store.turn(used).answer == "[forgotten] It is raining."
    assert store.turn(after).answer == "[forgotten]"
    assert store.turn(birds).answer == "The curlew does. A boat was called for."
    assert store.session(session).title == "What is she named?"


def test_an_answer_that_was_cut_off_loses_what_it_had_begun_to_say(store: MemoryStore) -> None:
    memory = store.add("My boat is called Whimbrelonde", source=TOLD)
    answers = ["It rains. Her name is Whimb", "It rains. It is Whimbrelonde, and", "It rains. Her name is Whims"]
    cut = [store.begin_turn(store.start_session(), "What is she named?") for _ in answers]
    for turn, answer in zip(cut, answers, strict=True):
        store.update_turn(turn, answer)
    store.purge(memory.id)
    assert [store.turn(turn).answer for turn in cut] == ["It rains. [forgotten]"] * 2 + [answers[2]]


def test_a_title_cut_short_in_the_middle_of_a_word_is_made_anew(store: MemoryStore) -> None:
    said = "Please keep this in mind for all later days: my boat is called Whimbrelonde"
    session = store.start_session()
    turn = store.begin_turn(session, said)
    assert store.session(session).title.endswith("boat is cal…")
    store.add("my boat is called Whimbrelonde", source=Source("told", session, turn))
    store.purge(store.list()[0].id)
    assert store.session(session).title == "Please keep this in mind for all later days: [forgotten]"


def test_citations_keep_their_places_in_a_blotted_answer_and_quotations_of_it_leave(store: MemoryStore) -> None:
    memory, turn = tell(store, "My boat is called Whimbrel")
    answer = "Your boat is called Whimbrel. It lies at quay 7 [1]. Ana said so [2]."
    place = {"document": "d1", "path": "/q.md", "quote": "quay 7"}
    citations: list[dict[str, Any]] = [
        place | {"answer_start": answer.index("It lies"), "answer_end": answer.index(" Ana")},
        place | {"answer_start": 0, "answer_end": 10},
        place | {"answer_start": answer.index("Ana"), "answer_end": len(answer), "quote": "my boat is called Whimbrel"},
    ]
    said = answer.index("Ana")
    result = {"answer": answer, "citations": citations, "unsupported": [[0, 5], [said, len(answer)]]}
    store.finish_turn(turn, answer, json.dumps(result), True)
    store.purge(memory.id)
    kept = json.loads(store.turn(turn).answer_json)
    assert store.turn(turn).answer == kept["answer"] == "[forgotten]. It lies at quay 7 [1]. Ana said so [2]."
    [one] = kept["citations"]
    assert kept["answer"][one["answer_start"] : one["answer_end"]] == "It lies at quay 7 [1]."
    [[start, end]] = kept["unsupported"]
    assert kept["answer"][start:end] == "Ana said so [2]."


@pytest.mark.parametrize(
    ("text", "said", "found"),
    [
        ("My boat is called Whimbrel", "So your boat is  called **Whimbrel**?", ["your boat is  called **Whimbrel"]),
        ("I'm allergic to nuts", "You’re allergic to nuts; you are allergic to nuts", [
            "You’re allergic to nuts", "you are allergic to nuts",
        ]),
        ("I have a dog", "You've a dog. I've a dog. He has a dog", ["You've a dog", "I've a dog"]),
        ("My boat is called Whimbrel", "Whimbrel is the boat called! Yes.", ["Whimbrel is the boat called!"]),
        ("My boat is called Whimbrel", "Your boat is called Curlew. My boat. A Whimbrel.", []),
        ("我的船叫白鹭号", "好的,你的船叫白鹭号。", ["你的船叫白鹭号"]),
        ("I am vegan", "Is a vegan meal fine? He is vegan.", []),
        ("🙂", "well 🙂 then", ["🙂"]),
    ],
)  # fmt: skip
def test_what_counts_as_saying_the_same(text: str, said: str, found: list[str]) -> None:
    assert [said[slice(*span)] for span in merged(Statement(text).spans(said))] == found


def test_a_document_is_quoted_by_six_words_in_a_row_or_a_whole_line() -> None:
    document = Document("There are forty-three rusty anchors in the shed.\nShed of Pym\n", ("stock.md",))
    said = "He counted forty-three rusty anchors in the shed, see stock.md, in the shed. The Shed of Pym"
    found = [said[slice(*span)] for span in merged(document.spans(said))]
    assert found == ["forty-three rusty anchors in the shed", "stock.md", "Shed of Pym"]
