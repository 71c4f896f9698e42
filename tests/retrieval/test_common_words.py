"""The words of a query in a library where they are common; bounds are lowered here, so that dozens of passages do."""

import time
from pathlib import Path

import pytest

from retrieval import search
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setattr(search, "_SMALL", 10)
    monkeypatch.setattr(search, "_POSTINGS", 6)
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(40):
        kind = "ferry" if number % 2 else "barge"
        colour = "ochre" if number < 5 else "teal"
        rarer = " and whimbrel" * (number == 7) + " and quoin" * (30 <= number < 34)
        (folder / f"{number:02}.txt").write_text(f"The {kind} {number} is {colour}{rarer}")
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(library, [folder])
    return library


def by_words(library: Library, query: str) -> set[str]:
    found = library.search(query, collections=["main"], limit=40)
    return {passage.title for passage in found if passage.lexical is not None}


def test_only_the_rarest_words_are_ranked_as_many_as_name_few_passages(library: Library) -> None:
    assert by_words(library, "whimbrel ochre ferry") == {"00", "01", "02", "03", "04", "07"}
    assert by_words(library, "whimbrel ochre quoin") == {"07", "30", "31", "32", "33"}
    library.remove("00.txt")
    assert by_words(library, "whimbrel ochre ferry") == {"01", "02", "03", "04", "07"}
    library.close()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        *(("12500", {"a", "b", "c", "d"}), ("12,500", {"a", "b", "c", "d"}), ("12.500", {"a", "b", "c", "d"})),
        *(
            ("12 500.00 EUR", {"a", "b", "c", "d"}),
            ("12’500", {"a", "b", "c", "d"}),
            ("cost 12\u202f500", {"a", "b", "c", "d"}),
        ),
        *(("1234567", {"e"}), ("2019", {"f"}), ("12 people and 500 boats", {"a", "c", "d", "f"})),
        *(("7,000", {"g"}), ("7000", set())),
    ],
)
def test_a_number_is_found_whichever_way_its_thousands_are_written(tmp_path: Path, query: str, found: set[str]) -> None:
    texts = {
        "a": "The rent is 12,500.00 pounds.",
        "b": "It costs 12500.",
        "c": "Der Preis ist 12.500 Euro.",
        "d": "Prisen er 12\u00a0500 kroner.",
        "e": "There are 1.234.567 herrings.",
        "f": "In 2019 there were 12 boats and 1,500 nets, of which 500 had holes.",
        "g": "Seats: 7, in rows 000 to 003.",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(library, [tmp_path / f"{name}.txt" for name in texts])
    assert by_words(library, query) == found
    library.close()


def test_of_a_long_query_both_ends_are_sought(library: Library) -> None:
    pasted = "and so on, " * 400
    assert by_words(library, f"whimbrel {pasted}") == by_words(library, f"{pasted} whimbrel") == {"07"}
    start = time.process_time()
    by_words(library, "".join(chr(point) for point in range(0x30000) if not 0xD800 <= point < 0xE000))
    assert time.process_time() - start < 4
    library.close()


def test_where_every_word_is_common_passages_that_have_all_of_them_are_found_unless_they_are_too_many(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_TOGETHER", 18)
    assert by_words(library, "teal barge") == {f"{number:02}" for number in range(6, 40, 2)}
    assert by_words(library, "barge") == by_words(library, "teal") == set()
    library.close()
