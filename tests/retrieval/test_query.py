"""Filters in a query: told from its words by rules, and applied before anything is ranked."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retrieval.errors import BadFilter
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.query import Query, check_dates, date_of, holds, loosened, read_query
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder


def test_filters_are_taken_out_of_the_words() -> None:
    text = 'the "annual fee" in:work/contracts type:.PDF after:2024-05 before:2025 author:"Anna Holm" berth'
    assert read_query(text) == Query(
        'the "annual fee" berth', ("annual fee",), ("work/contracts",), ("pdf",), ("Anna Holm",), "2024-05", "2025"
    )


def test_punctuation_after_a_filter_is_none_of_it() -> None:
    assert read_query("what was said after:2024, and in:work/2.1.?").after == "2024"
    assert read_query("what was said after:2024, and in:work/2.1.?").folders == ("work/2.1",)


@pytest.mark.parametrize(
    "value", ["2026-02-31", "2026-13", "yesterday", "31.12.2025", "2025/06", "0000", "May", '"last year"']
)
def test_a_filter_by_date_names_one(value: str) -> None:
    with pytest.raises(BadFilter, match="names no date"):
        check_dates(f"the fee before:{value}")
    for text in ("the fee after:2024 before:2024-02-29", "after: lunch", "the day after:-)", f"in:{value}", "3 after:"):
        check_dates(text)


@pytest.mark.parametrize(
    "text", ["When does the after:spec hook run?", 'Mend <p class="flex before:absolute after:mt-2">']
)
def test_what_is_meant_as_no_date_is_not_refused(text: str) -> None:
    check_dates(text)
    assert read_query(text).words == text


@pytest.mark.parametrize("text", ["meet after:lunch", "what comes in: a box", "http://x.org/in:box", 'a 5" pipe', "«»"])
def test_what_only_looks_like_a_filter_stays_among_the_words(text: str) -> None:
    assert read_query(text) == Query(text)


@pytest.mark.parametrize(
    ("text", "is_question"),
    [
        ('what does "annual fee" mean?', True),
        ("¿Qué significa «annual fee»? Brevemente.", True),
        ("“年费”是什么？", True),
        ('what does "annual fee" mean', False),
        ('"annual fee"?', False),
        ('book "what is truth?"', False),
    ],
)
def test_a_question_has_its_mark_and_its_words_outside_the_quotation(text: str, is_question: bool) -> None:
    assert read_query(text).is_question == is_question


def test_a_loosened_query_keeps_its_filters() -> None:
    assert loosened('what is the "annual fee" author:"Anna Holm"') == 'what is the annual fee author:"Anna Holm"'
    assert loosened("what is the fee type:pdf") is None
    assert loosened('what is the "annual fee"?') is None


@pytest.mark.parametrize(
    ("metadata", "date"),
    [
        ({"created": "D:20240512093000+01'00'"}, "2024-05-12"),
        ({"modified": "2023-11-02T10:00:00Z"}, "2023-11-02"),
        ({"date": "Mon, 13 May 2024 08:00:00 +0200"}, "2024-05-13"),
        ({"year": "1999"}, "1999"),
        ({"date": "some day"}, "2001-09-09"),
        ({}, "2001-09-09"),
    ],
)
def test_a_document_is_of_the_day_it_says_or_else_of_its_file(metadata: dict[str, str], date: str) -> None:
    assert date_of(metadata, 10**18) == date


def test_a_phrase_is_whole_words_in_a_row_whatever_their_form() -> None:
    assert holds("The ANNUAL\nfee, résumé", "annual fee resume")
    assert not holds("The annual fees", "annual fee")
    assert holds("会议将于周五举行", "周五举行")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("filtered")
    files = {
        "work/contracts/old.md": "The annual fee of the berth is 90 crowns.",
        "work/contracts/new.md": "The annual fee of the berth is 120 crowns.",
        "work/notes/talk.txt": "A fee is due; an annual review of the berth follows. 会议将于周五举行。",
        "home/mail.eml": "From: Anna Holm <a@x.org>\nDate: Mon, 13 May 2024 08:00:00 +0200\nSubject: Berth\n\nThe fee.",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        day = datetime(2019 if "old" in name else 2025, 6, 1, tzinfo=UTC).timestamp()
        os.utime(path, (day, day))
    opened = Library(folder / "data", folder / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(opened, [folder / "work", folder / "home"])
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("berth fee", {"old.md", "new.md", "talk.txt", "mail.eml"}),
        ("berth fee in:contracts", {"old.md", "new.md"}),
        ("berth fee in:work/notes", {"talk.txt"}),
        ("berth fee in:notes in:home", {"talk.txt", "mail.eml"}),
        ("berth fee in:contract", set()),
        ("berth fee type:markdown", {"old.md", "new.md"}),
        ("berth fee type:eml", {"mail.eml"}),
        ("berth fee after:2024", {"new.md", "talk.txt", "mail.eml"}),
        ("berth fee after:2024 before:2024-06", {"mail.eml"}),
        ("berth fee author:holm", {"mail.eml"}),
        ('berth "annual fee"', {"old.md", "new.md"}),
        ('berth "annual fees"', set()),
        ('"annual fees"?', set()),
        ('what is "annual fees" of a berth in:contracts?', {"old.md", "new.md"}),
        ('"annual fee" after:2024', {"new.md"}),
        ("会议 “周五”", {"talk.txt"}),
        ("会 “周”", {"talk.txt"}),
    ],
)
def test_a_search_finds_only_what_its_filters_let_through(library: Library, query: str, found: set[str]) -> None:
    assert {Path(passage.path).name for passage in library.search(query, collections=["main"])} == found


def test_a_question_prefers_the_passages_that_hold_what_it_quotes(library: Library) -> None:
    plain = library.search("the annual review fee of 90 crowns?", collections=["main"])
    quoted = library.search('the "annual review" fee of 90 crowns?', collections=["main"])
    assert Path(plain[0].path).name != "talk.txt"
    assert Path(quoted[0].path).name == "talk.txt"
    assert {one.path for one in quoted} == {one.path for one in plain}
    assert all(0 <= one.score <= 1 for one in quoted)
