"""Hostile files end in a message within bounds of time, memory and output; the library and the rest go on."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import UnreadableDocument
from retrieval.ingest import Progress, ingest
from retrieval.library import Library
from retrieval.readers.registry import read
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder
from tests.retrieval.hostile import FILES, make

_SAYS = {
    "bomb.docx": "unpacks to",
    "lying.docx": "damaged",
    "many.docx": "parts",
    "laughs.docx": "entities",
    "quadratic.docx": "entities",
    "laughs.odt": "XML is broken",
    "quadratic.odt": "XML is broken",
    "deep.docx": "XML is broken",
    "repeated.ods": "repeats more than 100,000",
    "traversal.epub": "no text",
    "line.txt": "more than 200",
    "long.csv": "cells, more than 16,384",
    "long.txt": "more than fit into",
    "nul.txt": "binary",
    "noise.txt": "binary",
    "halves.txt": "binary",
    "deep.html": "nested too deeply",
    "deeper.eml": "nested too deeply",
    "bomb.pdf": "no text",
    "loop.pdf": "broken",
    "nested.zip": "No reader",
}


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)


def test_every_hostile_file_ends_in_a_message_and_the_library_survives(library: Library, tmp_path: Path) -> None:
    make(tmp_path / "files")
    (tmp_path / "files/zz.txt").write_text("The last one is a letter about a ferry.")
    before, began = psutil.Process().memory_info().rss, time.monotonic()
    results = ingest(library, [tmp_path / "files", tmp_path / "files/device.txt", tmp_path / "files/pipe.txt"])
    assert time.monotonic() - began < 120  # about 5 s on an idle machine
    assert psutil.Process().memory_info().rss - before < 1 << 30
    found = {Path(result.path).name: result for result in results}
    assert FILES.keys() <= found.keys()
    assert [
        name for name, result in found.items() if result.status in ("failed", "skipped") and not result.reason
    ] == []
    for name, words in _SAYS.items():
        assert words in (found[name].reason or ""), (name, found[name])
    for name in ("device.txt", "pipe.txt"):
        assert "not a regular file" in (found[name].reason or "")
    assert all(len(result.reason or "") < 500 and "\x1b" not in (result.reason or "") for result in results)
    assert found["zz.txt"].status == "added" and library.check() == []
    assert Path(library.search("letter ferry", collections=["main"])[0].path).name == "zz.txt"
    texts = "".join(library.text(document.id)[:100_000] for document in library.documents())
    assert "root:" not in texts and "hahahaha" not in texts and "outside" not in texts
    library.close()


def test_files_that_vanish_or_change_during_an_ingest_are_named(library: Library, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    names = [f"{number:02}.txt" for number in range(8)]
    for name in names:
        (tmp_path / "files" / name).write_text(f"Letter {name}.")

    def vanish(progress: Progress) -> None:
        for name in names[4:]:
            (tmp_path / "files" / name).unlink(missing_ok=True)

    found = {Path(one.path).name: one for one in ingest(library, [tmp_path / "files"], progress=vanish)}
    assert found["00.txt"].status == "added"
    assert {found[name].status for name in names[4:]} == {"failed"}
    assert all("No such file" in (found[name].reason or "") for name in names[4:])
    assert library.check() == []
    library.close()


def broken(data: bytes, seed: int) -> bytes:
    """`data` with parts replaced, doubled or cut out."""
    dice, out = random.Random(seed), bytearray(data)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(out) + 1)
        end = min(at + dice.randint(0, 12), len(out))
        out[at:end] = dice.choice([b"", dice.randbytes(3), bytes(out[at:end]) * 3, b"\0", b"<![CDATA[", b"{\\"])
    return bytes(out)


_SEEDS = {
    "a.md": b"# One\n\n- item\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1\n```\n",
    "a.rst": b"Title\n=====\n\nText\n\nSub\n---\n\nMore\n",
    "a.html": b"<html><head><title>t</title></head><body><h1>One</h1><table><tr><td>1</td></tr></table></body></html>",
    "a.csv": b'name,value\n"a, b",1\nc,2\n',
    "a.json": b'{"a": [1, {"b": "c"}], "d": null}',
    "a.jsonl": b'{"a": 1}\n{"a": 2}\n',
    "a.ipynb": b'{"cells": [{"cell_type": "markdown", "source": ["# One"]}], "nbformat": 4, "metadata": {}}',
    "a.srt": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n",
    "a.vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n",
    "a.rtf": b"{\\rtf1\\ansi Some {\\b bold} text\\par}",
    "a.eml": b"From: a@b.org\nSubject: =?utf-8?q?Hi?=\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nhi\n--x--\n",
    "a.py": b"def one():\n    return 1\n",
    "a.txt": "Plain wörds.\n".encode(),
}


def check_any_input(write: Callable[[str, bytes], Path], name: str, data: bytes) -> None:
    """The text and its spans are sound, or the one error that names the file."""
    file = write(name, data)
    try:
        extraction = read(file)
    except UnreadableDocument as error:
        assert str(file) in str(error)
        return
    assert extraction.text.strip() and extraction.text.encode()
    for span in extraction.spans:
        assert 0 <= span.start <= span.end <= len(extraction.text)
    assert len(extraction.text) < 200 * len(data) + 1000


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def put(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return put


@pytest.mark.parametrize("name", _SEEDS)
def test_text_formats_take_any_bytes(write: Callable[[str, bytes], Path], name: str) -> None:
    @settings(derandomize=True, max_examples=15, deadline=None)
    @given(st.one_of(st.binary(max_size=200), st.integers(0, 1 << 32).map(lambda seed: broken(_SEEDS[name], seed))))
    def fuzz(data: bytes) -> None:
        check_any_input(write, name, data)

    fuzz()


@pytest.mark.slow
@pytest.mark.parametrize("name", _SEEDS)
def test_text_formats_take_many_more_bytes(write: Callable[[str, bytes], Path], name: str) -> None:
    for seed in range(20_000):
        check_any_input(write, name, broken(_SEEDS[name], seed))
