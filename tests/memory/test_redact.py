"""What counts as a secret and what people want remembered; and that no secret reaches the store's files.

The numbers are published examples or made by their own rules; the keys are made up.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from memory.redact import redact
from memory.store import MemoryStore
from memory.types import Source

KEY = "sk-" + "proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2"

FOUND = [
    (f"My key is {KEY}, keep it.", "My key is [API key removed], keep it."),
    ("ghp_" + "x1" * 18, "[API key removed]"),
    ("AWS: AKIA" + "IOSFODNN7EXAMPLE.", "AWS: [API key removed]."),
    ('api_key = "9f8d7c6b5a4e3f2d1c0b"', 'api_key = "[API key removed]"'),
    ("-----BEGIN PRIVATE KEY-----\nMIIB\nqq==\n-----END PRIVATE KEY-----\nthanks", "[private key removed]\nthanks"),
    ("so eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27uhbUJU1p1r", "so [access token removed]"),
    ("postgres://ana:hunter22@db.local/x", "postgres://ana:[password removed]@db.local/x"),
    ("My password is Tr0ub4dor&3.", "My password is [password removed]."),
    ("The wifi password for the shed is “tulip-42-boat”", "The wifi password for the shed is “[password removed]”"),
    ("Card 4111 1111 1111 1111 until 12/29", "Card [card number removed] until 12/29"),
    ("5500-0000-0000-0004 and 378282246310005", "[card number removed] and [card number removed]"),
    ("IBAN: DE89 3704 0044 0532 0130 00.", "IBAN: [IBAN removed]."),
    ("GB82WEST12345698765432", "[IBAN removed]"),
    ("My SSN is 219-09-9999", "My SSN is [social security number removed]"),
    ("NINO AB 12 34 56 C", "NINO [national identity number removed]"),
    ("DNI 12345678Z", "DNI [national identity number removed]"),
    ("NIE X1234567L", "NIE [national identity number removed]"),
    ("2 55 08 14 168 025 38", "[national identity number removed]"),
    ("RSSMRA85T10A562S", "[national identity number removed]"),
    ("Aadhaar 2341 2341 2346", "Aadhaar [national identity number removed]"),
    ("Meine Steuer-ID ist 86 095 742 719", "Meine Steuer-ID ist [tax number removed]"),
]  # fmt: skip

KEPT = [
    "My phone is +44 1632 960771 or 030 12345678.",
    "The door code is 4821 and the locker opens with Quetzalcoatl77.",
    "I was born on 1985-12-10; order 4111 1111 1111 1112, invoice 2024-0815-4711.",
    "ISBN 978-3-16-148410-0, commit 5d41402abc4b2a76b9719d911017c592aabbccdd",
    "550e8400-e29b-41d4-a716-446655440000 is the id",
    "The secret of good bread is time. The password is secret. The token is small.",
    "DE89 3704 0044 0532 0130 02 is no account",
    "Call me at 12345678A if you must, or see https://example.org:8080/a@b",
    "Sunday 12 34 56 C",
]


@pytest.mark.parametrize(("text", "plain"), FOUND, ids=[text[:24] for text, _ in FOUND])
def test_secrets_are_taken_out_and_named(text: str, plain: str) -> None:
    found = redact(text)
    assert found.text == plain
    assert len(found.secrets) == plain.count("removed]") and all(one in text for one in found.secrets)


@pytest.mark.parametrize("text", KEPT, ids=[text[:24] for text in KEPT])
def test_numbers_that_people_want_remembered_stay(text: str) -> None:
    assert redact(text).text == text


def test_what_was_found_is_told_in_words() -> None:
    assert redact(f"{KEY} {KEY} 4111111111111111").summary() == "2 API keys, 1 card number"
    assert redact("nothing here").summary() == ""


def test_no_secret_reaches_the_files(store: MemoryStore, tmp_path: Path) -> None:
    said = f"Remember that my card is 4111 1111 1111 1111. What is {KEY} for?"
    session = store.start_session()
    turn = store.begin_turn(session, said)
    store.update_turn(turn, f"The key {KEY} is")
    answer = f"Your key {KEY} opens it [1]. So does your card."
    at = answer.index("So does")
    result = {
        "question": said,
        "answer": answer,
        "citations": [{"answer_start": at, "answer_end": at + 7, "quote": "q"}],
    }
    store.finish_turn(turn, answer, json.dumps(result), True)
    [card] = store.observe(turn, said, recalled=[], cited=[], scope="main")
    assert card.text == "my card is [card number removed]"
    assert store.turn(turn).question[card.source.start : card.source.end] == card.text
    assert store.turn(turn).answer == "Your key [removed] opens it [1]. So does your card."
    [citation] = json.loads(store.turn(turn).answer_json)["citations"]
    assert store.turn(turn).answer[citation["answer_start"] : citation["answer_end"]] == "So does"
    added = store.add(f"The key is {KEY}", source=Source("command"))
    store.edit(added.id, f"The new key is {KEY}")
    store.feedback(turn, "correct", f"It is {KEY}")
    store.import_([{"text": f"An old key: {KEY}"}])
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    assert KEY.encode() not in written and b"1111 1111" not in written
    assert store.list()[0].text == "An old key: [API key removed]"


def test_redaction_can_be_switched_off(opener: Callable[..., MemoryStore]) -> None:
    store = opener(redact=False)
    assert store.add("My card is 4111 1111 1111 1111", source=Source("command")).text.endswith("1111")
