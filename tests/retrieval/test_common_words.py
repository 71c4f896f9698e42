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
