"""Plain text, code, Markdown, reStructuredText, RTF, subtitles, CSV, JSON and notebooks."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import UnreadableDocument, UnsupportedType
from retrieval.readers import Extraction, locate, read, supported
from retrieval.readers.extraction import Builder, cell_box, cell_name, clean


def section_of(extraction: Extraction, words: str) -> str | None:
    start = extraction.text.index(words)
    return locate(extraction.spans, start, start + len(words))[1].section


def pieces(extraction: Extraction) -> list[tuple[str, str]]:
    return [(span.kind, extraction.text[span.start : span.end]) for span in extraction.spans]


# --- text and its encodings


def test_plain_text_is_kept_as_it_stands(tmp_path: Path) -> None:
    words = "Cafe\u0301 is not Café.\n\n\tTabs stay.  And spaces. 🛥\n"
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + words.replace("\n", "\r\n").encode())
    assert read(tmp_path / "a.txt").text == words


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1252", "shift_jis", "cp1251"])
def test_other_encodings_are_recognised(tmp_path: Path, encoding: str) -> None:
    words = {
        "shift_jis": "港の規則は毎年春に改められ、船長全員に配られる。灯台は夜だけ開いている。" * 3,
        "cp1251": "Причал открыт весь год, но зимой паром ходит только два раза в день. " * 3,
    }.get(encoding, "Der Steg ist größer als die Brücke, und das Café hat früh geöffnet. " * 3)
    (tmp_path / "a.txt").write_bytes(words.encode(encoding))
    assert read(tmp_path / "a.txt").text == words


def test_a_broken_byte_does_not_turn_utf8_into_another_encoding(tmp_path: Path) -> None:
    words = "Größere Brücken führen über die Förde. " * 5
    (tmp_path / "a.txt").write_bytes(words.encode() + b"\xff")
    assert read(tmp_path / "a.txt").text == words + "\ufffd"


def test_binary_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x7fELF\0\0\1")
    with pytest.raises(UnreadableDocument, match="binary"):
        read(tmp_path / "a.txt")
    for content in (b"", b" \n\t\n"):
        (tmp_path / "b.txt").write_bytes(content)
        with pytest.raises(UnreadableDocument, match=r"empty|no text"):
            read(tmp_path / "b.txt")


def test_files_are_taken_by_suffix_or_because_they_are_text(tmp_path: Path) -> None:
    for name, content in {"README": b"Read me.", "README.Debian": b"Text.", "core": b"\0\1", "a.xyz": b"text"}.items():
        (tmp_path / name).write_bytes(content)
    assert supported(tmp_path / "README")
    assert supported(tmp_path / "README.Debian")
    assert supported(tmp_path / "NO.PDF")
    assert not supported(tmp_path / "core")
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(pipe, b"text" * 2**14)
    assert not supported(tmp_path / "pipe")  # to look would take what is another's, or wait
    os.close(pipe)
    assert not supported(tmp_path / "a.xyz")
    with pytest.raises(UnsupportedType, match=r"a\.xyz: no reader for \.xyz"):
        read(tmp_path / "a.xyz")
    with pytest.raises(UnsupportedType, match="Save it as DOCX"):
        read(tmp_path / "old.doc")


def test_code_is_one_span_of_code(tmp_path: Path) -> None:
    source = "def f(x):\n\n    return x\n"
    (tmp_path / "a.py").write_text(source)
    found = read(tmp_path / "a.py")
    assert pieces(found) == [("code", source)]
    assert found.title == "a"


# --- markup


def test_markdown_keeps_its_source_and_knows_its_sections(tmp_path: Path) -> None:
    source = (
        "---\ntitle: x\n# not a heading\n---\n\nPreface.\n\n# The *Pier*\n\nWords.\n\n```sh\n# a comment\n```\n\n"
        "## [Fees](x.md) ##\n\nNine.\n\nTides\n=====\n\nHigh.\n\n- item\n---\n\n#nospace\n"
    )
    (tmp_path / "a.md").write_text(source)
    found = read(tmp_path / "a.md")
    assert found.text == source
    assert found.title == "The Pier"
    headings = [text for kind, text in pieces(found) if kind == "heading"]
    assert headings == ["# The *Pier*", "## [Fees](x.md) ##", "Tides\n====="]
    assert ("code", "```sh\n# a comment\n```") in pieces(found)
    assert section_of(found, "Preface") is None
    assert section_of(found, "# a comment") == "The Pier"
    assert section_of(found, "Nine") == "The Pier › Fees"
    assert section_of(found, "High") == "Tides"
    assert section_of(found, "#nospace") == "Tides"


def test_rst_levels_follow_the_order_of_adornments(tmp_path: Path) -> None:
    source = (
        "=====\nGuide\n=====\n\nIntro.\n\nPiers\n-----\n\nWords.\n\nNorth\n~~~~~\n\nDeep.\n\nTides\n-----\n\nHigh.\n\n"
        "=====  =====\nA      B\n=====  =====\n1      2\n=====  =====\n"
    )
    (tmp_path / "a.rst").write_text(source)
    found = read(tmp_path / "a.rst")
    assert found.text == source
    assert section_of(found, "Intro") == "Guide"
    assert section_of(found, "Words") == "Guide › Piers"
    assert section_of(found, "Deep") == "Guide › Piers › North"
    assert section_of(found, "1      2") == "Guide › Tides"
    assert len([kind for kind, _ in pieces(found) if kind == "heading"]) == 4


def test_rtf_gives_its_text_and_table_rows(tmp_path: Path) -> None:
    (tmp_path / "a.rtf").write_text(
        r"{\rtf1\ansi\ansicpg1252{\fonttbl\f0 Arial;}\f0 The caf\'e9 is \b open\b0 .\par Gr\u246?\u223?e.\par "
        r"\trowd\cellx100\cellx200 North\cell 4 m\cell\row}"
    )
    assert read(tmp_path / "a.rtf").text == "The café is open.\nGröße.\nNorth | 4 m"
    (tmp_path / "b.rtf").write_text("no rtf")
    with pytest.raises(UnreadableDocument, match="not an RTF"):
        read(tmp_path / "b.rtf")


# --- subtitles


def test_srt_and_vtt_keep_the_time_of_each_cue(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text(
        "1\n00:00:01,500 --> 00:00:04,000\n<i>The boat</i>\nleaves.\n\n"
        "2\n00:01:00,000 --> 00:01:02,000\n{\\an8}Wait &amp; see.\n"
    )
    found = read(tmp_path / "a.srt")
    assert found.text == (
        "[00:00:01.500 --> 00:00:04.000] The boat leaves.\n[00:01:00.000 --> 00:01:02.000] Wait & see."
    )
    assert section_of(found, "The boat") == "00:00:00"
    assert section_of(found, "Wait") == "00:01:00"
    (tmp_path / "a.vtt").write_text(
        "WEBVTT\n\nNOTE not said\n\nintro\n00:01.000 --> 00:02.000 align:start\n<v Åse>Hello.</v>\n"
    )
    assert read(tmp_path / "a.vtt").text == "[00:01.000 --> 00:02.000] Åse: Hello."
    (tmp_path / "b.srt").write_text("no cue here")
    with pytest.raises(UnreadableDocument, match="no cues"):
        read(tmp_path / "b.srt")


# --- rows


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("b.csv", ";"), ("c.tsv", "\t"), ("d.csv", "|")])
def test_csv_rows_carry_headers_and_cells(tmp_path: Path, name: str, mark: str) -> None:
    rows = [
        ["Name", "Note", "Fee"],
        ["Ada", f'"a{mark} ""quoted""\nnote"', "12"],
        ["Bo", "", "9,5" if mark != "," else "9.5"],
    ]
    (tmp_path / name).write_bytes("\r\n".join(mark.join(row) for row in rows).encode())
    found = read(tmp_path / name)
    note = " ".join(f'a{mark} "quoted" note'.split())
    assert found.text == f"Name | Note | Fee\nName: Ada; Note: {note}; Fee: 12\nName: Bo; Fee: {rows[2][2]}"
    start = found.text.index("Fee: 12") + 5
    assert locate(found.spans, start, start + 2)[1].cells == "C2"
    assert locate(found.spans, found.text.index("Name: Bo"), len(found.text))[1].cells == "A3:C3"


def test_a_csv_without_header_is_read_by_value(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    assert read(tmp_path / "a.csv").text == "1 | 2\n3 | 4"


def test_json_and_jsonl_become_keyed_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps(
            {"name": "Pier 7", "berths": [{"id": 1, "size": {"m": 9}}, {"id": 2, "tags": ["a", "é"]}], "open": True}
        )
    )
    found = read(tmp_path / "a.json")
    assert found.text == "name: Pier 7\nberths: [0].id: 1; [0].size.m: 9; [1].id: 2; [1].tags: a, é\nopen: true"
    large = {"harbour": {"piers": [{"id": number, "note": "x" * 200} for number in range(20)]}, "open": True}
    (tmp_path / "c.json").write_text(json.dumps(large))
    found = read(tmp_path / "c.json")
    assert found.text.startswith("harbour\n\npiers\nid: 0; note: xxx")
    assert section_of(found, "id: 19") == "harbour › piers"
    assert section_of(found, "open: true") is None
    (tmp_path / "b.json").write_text(json.dumps([{"id": 1, "x": "a"}, {"id": 2, "x": "b"}]))
    assert read(tmp_path / "b.json").text == "id: 1; x: a\nid: 2; x: b"
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n\n{"id": 2, "at": {"x": null}}\n{cut')
    assert read(tmp_path / "a.jsonl").text == "id: 1\nid: 2; at.x: null\n{cut"


@pytest.mark.parametrize("text", ['{"a": 1, // comment\n}', "[" * 100_000])
def test_json_that_does_not_parse_is_kept_as_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert read(tmp_path / "a.json").text == text


def test_notebooks_give_markdown_code_and_short_outputs(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Tides\n", "\n", "Measured."]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
        {
            "cell_type": "code",
            "source": "big()",
            "outputs": [{"data": {"text/plain": "x" * 9000, "image/png": "AAAA"}}],
        },
        {"cell_type": "markdown", "source": "## Low\nWords."},
    ]
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4}))
    found = read(tmp_path / "a.ipynb")
    assert found.title == "Tides"
    assert pieces(found)[:4] == [("heading", "# Tides"), ("text", "Measured."), ("code", "print(1)"), ("note", "1")]
    assert section_of(found, "print") == "Tides"
    assert section_of(found, "Words") == "Tides › Low"
    assert len(found.text) < 3000
    assert "AAAA" not in found.text
    (tmp_path / "b.ipynb").write_text('{"cells": 3}')
    with pytest.raises(UnreadableDocument, match="not a notebook"):
        read(tmp_path / "b.ipynb")


# --- offsets


@given(st.lists(st.tuples(st.text(), st.sampled_from(["text", "heading"]), st.sampled_from(["\n", "\n\n", "; "]))))
def test_spans_of_any_parts_are_ordered_and_hold_what_was_put_in(parts: list[tuple[str, str, str]]) -> None:
    builder = Builder()
    for text, kind, separator in parts:
        builder.add(text, kind, separator=separator)
    found = builder.build("text/plain")
    expected = [clean(text).strip("\n") for text, _, _ in parts if clean(text).strip()]
    assert [found.text[span.start : span.end] for span in found.spans] == expected
    assert all(left.end <= right.start for left, right in zip(found.spans, found.spans[1:], strict=False))
    assert "\r" not in found.text


@given(st.integers(1, 20_000), st.integers(1, 2_000_000))
def test_cell_names_and_boxes_agree(column: int, row: int) -> None:
    assert cell_box(cell_name(column, row)) == (column, row, column, row)


def test_a_range_between_spans_takes_the_position_before_it() -> None:
    builder = Builder()
    for page in (1, 2):
        builder.page = page
        builder.add(f"Page {page}.")
    found = builder.build("text/plain")
    assert [locate(found.spans, at, at + 1)[0] for at in (0, 7, 8, 9, 15)] == [1, 1, 1, 2, 2]
    assert locate((), 0, 5)[0] is None


def test_what_a_terminal_would_obey_is_no_text() -> None:
    link = "\x1b]8;;http://example.org\x1b\\the report\x1b]8;;\x07"
    assert clean(f"\x1b[31mswordfish\x1b[0m, \x1b[2J{link}, \x1b(B\x1bM\x1b") == "swordfish, the report, "
    assert clean("a \x1b]title without an end\nb") == "a title without an end\nb"
