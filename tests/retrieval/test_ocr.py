"""Scans and pictures: their text is recognised where tesseract is installed, within limits; else it is said."""

import shutil
import stat
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.pdfgen.canvas import Canvas

from app.passages import passage_json
from app.places import place
from retrieval.errors import OcrMissing, UnreadableDocument, UnsupportedType
from retrieval.ingest import estimate, ingest
from retrieval.library import Library
from retrieval.readers import Limits, ReaderPool, locate
from retrieval.readers.ocr import Scans
from retrieval.readers.registry import read
from retrieval.scans import listed
from retrieval.settings import RetrievalSettings
from tests.fakes import FakeEmbedder

FEE = ("The harbour fee is forty crowns", "and is paid on the first of May.")
ROPES = ("Ropes and anchors lie in the", "northern shed until the spring.")
needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None, reason="tesseract is not installed (apt install tesseract-ocr)"
)


def drawn(lines: Sequence[str]) -> Image.Image:
    image = Image.new("L", (900, 300), 255)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((60, 60 + 52 * number), line, font=ImageFont.load_default(size=34), fill=0)
    return image


def mixed_pdf(path: Path, picture: Path) -> None:
    """A printed page, a scanned one, an empty one."""
    canvas = Canvas(str(path))
    canvas.drawString(72, 700, "The printed page speaks of berths.")
    canvas.showPage()
    canvas.drawImage(str(picture), 0, 500, 600, 200)
    canvas.showPage()
    canvas.showPage()
    canvas.save()


@needs_tesseract
def test_pictures_and_scanned_pages_are_read(tmp_path: Path) -> None:
    drawn(FEE).save(tmp_path / "fee.png")
    drawn(FEE).save(tmp_path / "pages.tiff", save_all=True, append_images=[drawn(ROPES)])
    mixed_pdf(tmp_path / "mixed.pdf", tmp_path / "fee.png")
    with ReaderPool(1, Limits(languages="eng")) as pool:
        found = {name: pool.read(tmp_path / name) for name in ("fee.png", "pages.tiff", "mixed.pdf")}
    assert found["fee.png"].text == " ".join(FEE)
    assert found["pages.tiff"].text == f"{' '.join(FEE)}\n\n{' '.join(ROPES)}"
    assert found["mixed.pdf"].text == f"The printed page speaks of berths.\n\n{' '.join(FEE)}"
    for name, page in (("pages.tiff", 2), ("mixed.pdf", 2)):
        extraction = found[name]
        assert locate(extraction.spans, len(extraction.text) - 5, len(extraction.text))[0] == page
        assert f"page {page}: 9" in extraction.metadata["ocr"]
    assert "page 1" not in found["mixed.pdf"].metadata["ocr"] and "unread" not in found["mixed.pdf"].metadata


def png(width: int, height: int) -> bytes:
    """A PNG that says it is so large and holds a few kilobytes of zeros."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(bytes(4_000_000))) + part(b"IEND", b"")


@needs_tesseract
def test_bombs_and_broken_pictures_end_in_a_message(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    drawn(FEE).save(tmp_path / "whole.tiff")
    whole = (tmp_path / "whole.tiff").read_bytes()
    (tmp_path / "cut.tiff").write_bytes(whole[:200])
    (tmp_path / "loop.tiff").write_bytes(whole[:4] + struct.pack("<I", 4) + whole[8:])
    (tmp_path / "noise.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 20)
    began = time.monotonic()
    with ReaderPool(1, Limits(scan_seconds=20, languages="eng", memory_mib=700)) as pool:
        for name in ("bomb.png", "cut.tiff", "loop.tiff", "noise.jpg"):
            with pytest.raises(UnreadableDocument, match=name):
                pool.read(tmp_path / name)
    assert time.monotonic() - began < 60


Tool = Callable[[str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts a `tesseract` on the path that does as told once it has read what it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def install(does: str) -> None:
        script = folder / "tesseract"
        head = (
            '#!/bin/sh\n[ "$1" = --list-langs ] && { printf "List:\\ndeu\\neng\\nosd\\n"; exit 0; }\ncat > /dev/null\n'
        )
        script.write_text(f"{head}{does}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    return install


def words(certainty: int, *texts: str) -> str:
    """A shell command that prints tesseract's table of one line of words."""
    rows = [f"5\\t1\\t1\\t1\\t1\\t{n}\\t0\\t0\\t9\\t9\\t{certainty}\\t{text}" for n, text in enumerate(texts, 1)]
    return "printf '" + "\\n".join(rows) + "\\n'"


def picture(folder: Path) -> Path:
    drawn(()).save(folder / "fee.png")
    return folder / "fee.png"


def test_a_page_that_was_hard_to_read_says_so_wherever_it_is_shown(tmp_path: Path, tool: Tool) -> None:
    tool(words(52, "The", "fee", "is", "forty", "crowns"))
    (tmp_path / "files").mkdir()
    picture(tmp_path / "files")
    (tmp_path / "files/plain.txt").write_text("The fee is forty crowns, says the board.")
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(library, [tmp_path / "files"])
    found = {Path(one.path).name: one for one in library.search("forty crowns fee", collections=["main"])}
    scan, plain = found["fee.png"], found["plain.txt"]
    where = library.locate(scan.document, scan.start, scan.end)
    library.close()
    assert (scan.text, scan.page, scan.locator.ocr, where.locator.ocr) == ("The fee is forty crowns", 1, 0.52, 0.52)
    assert place("fee.png", scan.page, 1, scan.locator) == "fee.png, page 1 (a scan, read with 52% certainty)"
    assert passage_json(scan)["locator"]["ocr"] == 0.52
    assert "ocr" not in passage_json(plain)["locator"]


def test_a_page_read_well_is_shown_like_any_other_and_grain_is_no_text(tmp_path: Path, tool: Tool) -> None:
    tool(words(93, "The", "fee"))
    page = read(picture(tmp_path))
    assert (page.text, page.metadata["ocr"]) == ("The fee", "page 1: 93%")
    tool(words(20, "iI|", "l1"))
    with pytest.raises(UnsupportedType, match=r"fee\.png: it is a picture without text"):
        read(picture(tmp_path))


def test_languages_are_those_set_or_the_installed_ones(tmp_path: Path, tool: Tool) -> None:
    tool(f'echo "$@" > {tmp_path}/asked; {words(90, "one")}')
    for languages, asked in (("spa", "-l spa "), ("", "-l eng+deu ")):
        read(picture(tmp_path), Scans(languages))
        assert asked in (tmp_path / "asked").read_text().replace("deu+eng", "eng+deu")
    tool("""echo "Failed loading language 'spa'" >&2; exit 1""")
    with pytest.raises(OcrMissing, match=r"lacks the language spa.*Install it: .*spa"):
        read(picture(tmp_path), Scans("spa"))


def test_what_goes_wrong_in_tesseract_is_that_files_failure(tmp_path: Path, tool: Tool) -> None:
    image = picture(tmp_path)
    for does, message in (
        ("echo 'Error: image data is torn.' >&2; exit 1", "cannot read it: Error: image data is torn"),
        ("kill -9 $$", "too large, or made to harm"),
        ("printf '5\\tx\\n\\377\\376'", "picture without text"),
    ):
        tool(does)
        with pytest.raises(UnreadableDocument, match=message):
            read(image)


def test_tesseract_has_the_workers_memory_and_ends_with_its_time(tmp_path: Path, tool: Tool) -> None:
    image = picture(tmp_path)
    tool(f"ulimit -v > {tmp_path}/limit; exec sleep 600")
    began = time.monotonic()
    limits = Limits(memory_mib=900, scan_seconds=1, seconds=20)
    late = pytest.raises(UnreadableDocument, match=r"longer than .* s.*retrieval\.ocr_seconds")
    with ReaderPool(1, limits) as pool, late:
        pool.read(image)
    assert time.monotonic() - began < 15
    assert (tmp_path / "limit").read_text().strip() == str(900 * 1024)


def test_closing_the_pool_ends_a_tesseract_at_work(tmp_path: Path, tool: Tool) -> None:
    image = picture(tmp_path)
    tool(f"echo $$ > {tmp_path}/pid; exec sleep 600")
    pool = ReaderPool(1)
    future = pool._threads.submit(pool.read, image)
    deadline = time.monotonic() + 20
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    pool.close()
    assert isinstance(future.exception(), UnreadableDocument)
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)


def test_pages_beyond_the_time_stay_unread_and_the_rest_is_kept(tmp_path: Path, tool: Tool) -> None:
    canvas = Canvas(str(tmp_path / "scan.pdf"))
    for _ in range(3):
        canvas.drawImage(str(picture(tmp_path)), 0, 500, 600, 200)
        canvas.showPage()
    canvas.save()
    # The second call hangs.
    tool(f"[ -e {tmp_path}/once ] && exec sleep 600; touch {tmp_path}/once; {words(90, 'First', 'page')}")
    found = read(tmp_path / "scan.pdf", Scans("eng", seconds=3))
    assert (found.text, found.metadata["ocr"]) == ("First page", "page 1: 90%")
    assert found.metadata["unread"].startswith("pages 2-3 not read: Recognising its text took longer than")


def test_without_tesseract_each_file_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "files").mkdir()
    mixed_pdf(tmp_path / "files/mixed.pdf", picture(tmp_path / "files"))
    monkeypatch.setenv("PATH", str(tmp_path))
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    found = {Path(one.path).name: one for one in ingest(library, [tmp_path / "files"])}
    library.close()
    assert (found["fee.png"].status, found["mixed.pdf"].status) == ("skipped", "added")
    assert "tesseract, is missing. Install it: `" in (found["fee.png"].reason or "")
    assert (found["mixed.pdf"].reason or "").startswith("page 2 not read: It is a picture")
    with pytest.raises(OcrMissing):
        read(tmp_path / "files/fee.png")


def test_a_picture_without_text_is_recognised_once_for_each_tesseract_and_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool
) -> None:
    (tmp_path / "files").mkdir()
    picture(tmp_path / "files")
    calls = tmp_path / "calls"
    counted = f'case "$1" in --version) echo {{}};; *) echo x >> {calls};; esac'
    tool(counted.format("tesseract 5.3.0"))
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)

    def told() -> tuple[str, str | None, int]:
        [one] = ingest(library, [tmp_path / "files"])
        return one.status, one.reason, calls.read_text().count("x")

    first = told()
    assert first[::2] == ("skipped", 1) and (first[1] or "").endswith("fee.png: it is a picture without text.")
    assert told() == first
    (tmp_path / "files/fee.png").touch()
    assert told() == first  # other times, the same picture
    tool(counted.format("tesseract 5.4.0"))
    assert told()[2] == 2 and told()[2] == 2
    drawn(FEE).save(tmp_path / "files/fee.png")
    assert told()[2] == 3
    monkeypatch.setattr("retrieval.unchanged.READER_VERSION", "next")
    assert told()[2] == 4
    library.close()


def test_pages_that_were_left_unread_are_read_once_tesseract_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: Tool
) -> None:
    (tmp_path / "files").mkdir()
    mixed_pdf(tmp_path / "files/mixed.pdf", picture(tmp_path))
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)

    def told() -> tuple[str, bool]:
        would = estimate(library, [tmp_path / "files"]).files
        [one] = ingest(library, [tmp_path / "files"])
        assert would == (one.status != "unchanged")
        return one.status, one.reason is not None

    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        assert [told(), told()] == [("added", True), ("unchanged", False)]
    tool(words(90, "Twelve", "crowns"))
    assert [told(), told()] == [("updated", False), ("unchanged", False)]
    assert "Twelve crowns" in library.text(library.documents()[0].id)
    with monkeypatch.context() as without:  # what was read stays
        without.setenv("PATH", str(tmp_path))
        assert told() == ("unchanged", False)
    library.close()


def test_the_same_tesseract_that_lacks_the_language_is_not_asked_again(tmp_path: Path, tool: Tool) -> None:
    (tmp_path / "files").mkdir()
    mixed_pdf(tmp_path / "files/mixed.pdf", picture(tmp_path))
    tool("""[ "$1" = --version ] && echo "tesseract  v5.0" || { echo "Failed loading language 'spa'" >&2; exit 1; }""")
    settings = RetrievalSettings(ocr_languages="spa")
    library = Library(tmp_path / "data", tmp_path / "cache", settings, FakeEmbedder)
    assert [ingest(library, [tmp_path / "files"])[0].status for _ in range(2)] == ["added", "unchanged"]
    library.close()


def test_page_numbers_are_told_in_runs() -> None:
    assert [listed([4]), listed([1, 2, 3, 7, 9, 10])] == ["page 4", "pages 1-3, 7, 9-10"]
