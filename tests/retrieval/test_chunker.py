import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.chunker import chunk
from retrieval.fusion import best_bm25, fuse
from retrieval.readers.extraction import Extraction, Span
from retrieval.types import Locator
from tests.fakes import FakeEmbedder

count = FakeEmbedder().count_tokens


def plain(text: str, media_type: str = "text/plain", kind: str = "text") -> Extraction:
    return Extraction(text, "", media_type, (Span(0, len(text), kind=kind),) if text else ())


@settings(deadline=None, max_examples=60)
@given(
    st.text(alphabet="ab .,\n\t中文é()", max_size=400),
    st.sampled_from([("text/plain", "text"), ("text/x-py", "code"), ("text/csv", "table")]),
)
def test_any_text_is_covered_in_order_within_the_limit(text: str, shape: tuple[str, str]) -> None:
    pieces = chunk(plain(text, *shape), count, 12)
    at = 0
    for piece in pieces:
        assert not text[at : piece.start].strip()
        assert piece.start < piece.end
        assert text[piece.start : piece.end].strip() == text[piece.start : piece.end]
        assert count(piece.embedded) <= 12
        at = piece.end
    assert not text[at:].strip()


def test_a_passage_stays_within_one_page_and_section() -> None:
    text = "first page\n\nsecond page\n\nother section"
    spans = (
        Span(0, 10, 1, Locator("A")),
        Span(12, 23, 2, Locator("A")),
        Span(25, 38, 2, Locator("A › B")),
    )
    pieces = chunk(Extraction(text, "Title", "application/pdf", spans), count, 60)
    assert [text[piece.start : piece.end] for piece in pieces] == ["first page", "second page", "other section"]
    assert pieces[2].embedded == "Title › A › B\nother section"


def test_a_heading_is_no_passage_by_itself_where_text_follows_it() -> None:
    body = " ".join(f"word{number}" for number in range(30))
    text = f"# Ferry\n\n{body}"
    spans = (Span(0, 7, locator=Locator("Ferry"), kind="heading"), Span(9, len(text), locator=Locator("Ferry")))
    pieces = chunk(Extraction(text, "Ferry", "text/markdown", spans), count, 16)
    assert text[pieces[0].start : pieces[0].end].startswith("# Ferry\n\nword0")
    assert pieces[0].embedded.startswith("Ferry\nword0") and len(pieces) > 1
    assert all(count(piece.embedded) <= 16 for piece in pieces)
    alone = chunk(Extraction("# Ferry", "Ferry", "text/markdown", spans[:1]), count, 16)
    assert [(piece.start, piece.end) for piece in alone] == [(0, 7)]


def test_a_table_is_cut_between_rows_and_each_part_is_embedded_under_the_header() -> None:
    rows = ["name | price", *(f"thing{number} | {number}" for number in range(40))]
    text = "\n".join(rows)
    pieces = chunk(plain(text, "text/csv", "table"), count, 24)
    assert len(pieces) > 1
    for piece in pieces:
        assert set(text[piece.start : piece.end].split("\n")) <= set(rows)
        assert piece.embedded.startswith("name | price\n")


def test_python_is_cut_between_functions_and_methods() -> None:
    parts = [
        f"    @decorated\n    def method{number}(self):\n        return {number} + one + two\n" for number in range(4)
    ]
    source = "import os\n\n\nclass Thing:\n" + "\n".join(parts) + "\n\ndef last():\n    pass\n"
    pieces = [source[piece.start : piece.end] for piece in chunk(plain(source, "text/x-py", "code"), count, 14)]
    assert sum(piece.lstrip().startswith("@decorated") for piece in pieces) >= 3
    assert all(piece.count("return") <= 1 for piece in pieces)
    assert pieces[-1].endswith("def last():\n    pass")


def test_other_code_is_cut_between_blocks() -> None:
    source = "".join(f"int f{number}(void) {{\n  int a = {number};\n\n  return a;\n}}\n\n" for number in range(6))
    pieces = [source[piece.start : piece.end] for piece in chunk(plain(source, "text/x-c", "code"), count, 14)]
    assert all(piece.startswith("int f") and piece.endswith("}") for piece in pieces)


def test_a_word_too_long_to_read_is_cut_all_the_same() -> None:
    pieces = chunk(plain("x" * 5000), count, 22)
    assert max(piece.end - piece.start for piece in pieces) <= 210


def test_fusion_weighs_cosine_and_the_share_of_the_best_bm25() -> None:
    ranked = fuse({1: 0.8, 2: 0.2, 3: -0.4}, {2: 5.0, 4: 20.0}, best=10.0, weight=0.5)
    assert ranked == [(4, 0.5), (1, 0.4), (2, pytest.approx(0.35)), (3, 0.0)]


def test_no_row_has_more_bm25_than_the_best() -> None:
    # Two terms in 1 of 10 rows each: idf = ln(9.5 / 1.5), times k1 + 1.
    assert best_bm25([1, 1], 10) == pytest.approx(2 * 2.2 * 1.845826690)
    assert best_bm25([], 10) == 0
