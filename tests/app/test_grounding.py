"""The citation checker against hand-made answers, and what no answer may bring about."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.grounding import Source, check
from app.shelf import Shelf
from retrieval.types import Locator, Passage, Position
from tests.app.grounding_fixtures import CASES, DOCUMENTS, MEMORIES, PASSAGES, Case


class Texts:
    """A library of fixed texts: all that the checker needs."""

    def text(self, document: str) -> str:
        return DOCUMENTS[document]

    def locate(self, document: str, start: int, end: int) -> Position:
        return Position(2 if document == "d2" else None, DOCUMENTS[document].count("\n", 0, start) + 1)


def sources() -> list[Source]:
    found = []
    for n, (document, start, end) in enumerate(PASSAGES, 1):
        text = DOCUMENTS[document]
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        found.append(
            Source(
                n,
                Passage(
                    n,
                    document,
                    f"{document}.md",
                    document,
                    None,
                    1,
                    start,
                    end,
                    Locator(),
                    text[start:end],
                    sha256,
                    "main",
                    1.0,
                ),
            )
        )
    return found


def checked(answer: str):
    return check(answer, sources(), Shelf(Texts()), sorted(MEMORIES.items()))  # type: ignore[arg-type]  # the two methods it uses


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_gets_the_citations_it_deserves(case: Case) -> None:
    result = checked(case.answer)
    assert [(c.n, c.status) for c in result.citations] == [(n, status) for n, status, _ in case.citations]
    for citation, (_, _, quote) in zip(result.citations, case.citations, strict=True):
        if quote is None:
            assert citation.quote
        else:
            assert citation.quote == quote
    flagged = [result.answer[a:b] for a, b in result.unsupported]
    assert len(flagged) == len(case.unsupported), flagged
    assert all(text.startswith(start) for text, start in zip(flagged, case.unsupported, strict=True)), flagged
    assert list(result.memories) == case.memories
    assert result.reasoning == case.reasoning
    assert result.refused == case.refused


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_quote_is_always_the_documents_own_characters(case: Case) -> None:
    result = checked(case.answer)
    for citation in result.citations:
        if citation.document:
            text = DOCUMENTS[citation.document]
            assert citation.quote == text[citation.start : citation.end]
            assert citation.line == text.count("\n", 0, citation.start) + 1
            assert citation.text_sha256 == hashlib.sha256(text.encode()).hexdigest()
        else:
            assert citation.status == "not_found" and citation.quote == ""
        assert 0 <= citation.answer_start < citation.answer_end <= len(result.answer)
        assert bool(citation.quote) == (citation.status != "not_found")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    "“",
                    "”",
                    '"',
                    "[1]",
                    "[2, 3]",
                    "[^1]",
                    "【9】",
                    "...",
                    "[...]",
                    ". ",
                    "\n> ",
                    "\n- ",
                    "| ",
                    "```",
                    "<think>",
                    "¹",
                ]
            ),
            st.sampled_from([c.answer for c in CASES]),
            st.text(max_size=12),
        ),
        max_size=8,
    )
)
def test_no_answer_whatever_breaks_the_checker_or_makes_it_quote_what_is_not_there(parts: list[str]) -> None:
    result = checked("".join(parts))
    for citation in result.citations:
        if citation.document:
            assert citation.quote == DOCUMENTS[citation.document][citation.start : citation.end]
    assert all(0 <= a < b <= len(result.answer) for a, b in result.unsupported)


CHANGES = [
    ("12.50", "12.05"),
    ("9 metres", "6 metres"),
    ("not be left", "be left"),
    ("does not accept", "does accept"),
    ("Anna Holm", "Hanna Holm"),
    ("1921", "1912"),
    ("340", "3400"),
    ("1,204", "1,024"),
    ("1978", "1979"),
    ("Mulder", "Muller"),
    ("3,200", "3.2"),
    ("Luxor", "Cairo"),
    ("may not", "may"),
    ("18:00", "8:00"),
    ("first Sunday", "second Sunday"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
@pytest.mark.parametrize("quoted", [True, False])
def test_an_altered_number_negation_or_name_is_never_verified(old: str, new: str, quoted: bool) -> None:
    for n, (document, start, end) in enumerate(PASSAGES, 1):
        for sentence in DOCUMENTS[document][start:end].replace("\n", " ").split(". "):
            if old not in sentence:
                continue
            altered = sentence.replace(old, new)
            answer = f"“{altered}” [{n}]" if quoted else f"{altered} [{n}]."
            result = checked(answer)
            assert not any(old in c.quote for c in result.citations), (answer, result.citations)
            assert result.unsupported
