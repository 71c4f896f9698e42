"""HTML, EPUB, EML and MSG."""

import importlib.util
import struct
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest

from retrieval.errors import UnreadableDocument, UnsupportedType
from retrieval.readers import Extraction, ReaderPool, read
from retrieval.readers.compressed_rtf import decompress


def _load_writer() -> Callable[[dict[str, bytes]], bytes]:
    file = Path(__file__).with_name("compound_file.py")
    spec = importlib.util.spec_from_file_location("compound_file", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    writer: Callable[[dict[str, bytes]], bytes] = module.compound_file
    return writer


compound_file = _load_writer()


def section_of(extraction: Extraction, words: str) -> str | None:
    start = extraction.text.index(words)
    (span,) = [span for span in extraction.spans if span.start <= start < span.end]
    assert span.end >= start + len(words)
    return span.locator.section


# --- HTML


def test_html_gives_blocks_and_sections_without_boilerplate(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        """<!doctype html><html><head><title>Tides &amp; times</title><style>p {}</style></head><body>
        <nav>Home | About</nav><div role="navigation">Menu</div><h1>Tides<a class="headerlink" href="#x">¶</a></h1>
        <p>High   water is\nat <b>noon</b>.<br>Low at six.</p><script>alert("no")</script><noscript>Enable it</noscript>
        <h2>Places</h2><ul><li>North pier<li><p>South pier</p></ul><p hidden>secret</p><p style="display: none">gone</p>
        <table><tr><th>Pier<th>Depth</tr><tr><td>North<td>4&nbsp;m</tr></table><pre>  keep\n    this</pre>
        <article><footer>Signed by me</footer></article><footer>Cookies</footer></body></html>""",
        encoding="utf-8",
    )
    found = read(tmp_path / "a.html")
    assert found.title == "Tides & times"
    assert found.text == (
        "Tides\n\nHigh water is at noon.\nLow at six.\n\nPlaces\n- North pier\n- South pier\n\nPier | Depth\n"
        "Pier: North; Depth: 4 m\n\n  keep\n    this\n\nSigned by me"
    )
    assert section_of(found, "at noon") == "Tides"
    assert section_of(found, "South pier") == "Tides › Places"


@pytest.mark.parametrize(
    ("encoding", "head"),
    [("utf-8", ""), ("latin-1", '<meta charset="iso-8859-1">'), ("utf-16", ""), ("koi8-r", "<meta charset=koi8-r>")],
)
def test_html_is_decoded_as_declared(tmp_path: Path, encoding: str, head: str) -> None:
    words = "Причал" if encoding == "koi8-r" else "Café Größe"
    (tmp_path / "a.html").write_bytes(f"<html><head>{head}</head><body><p>{words}</p></body></html>".encode(encoding))
    assert read(tmp_path / "a.html").text == words


def test_html_keeps_text_that_stands_in_layout_tables_and_bare_divs(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<body>Bare words<div>in a div</div>after<table><tr><td><h1>Head</h1>"
        "<table><tr><td>x<td>y</table></table></body>"
    )
    assert read(tmp_path / "a.html").text == "Bare words\n\nin a div\n\nafter\n\nHead\n\nx | y"


def test_deeply_nested_html_is_read_or_said_to_be_too_deep(tmp_path: Path) -> None:
    cell, end = "<table><tr><td>", "</table>"
    (tmp_path / "unclosed.html").write_text(f"<p>Before.{'<font>' * 2000}Inside.<p>After.")
    (tmp_path / "tables.html").write_text(f"<p>Before.{cell * 600}Inside.{end * 600}<p>After.")
    (tmp_path / "deeper.html").write_text(f"<p>Before.{cell * 3000}Inside.{end * 3000}<p>After.")
    with ReaderPool(1) as pool:
        found = dict(pool.run_many(sorted(tmp_path.iterdir())))
    unclosed, tables = found[tmp_path / "unclosed.html"], found[tmp_path / "tables.html"]
    assert isinstance(unclosed, Extraction)
    assert unclosed.text.replace("\n\n", " ") == "Before.Inside. After."
    assert isinstance(tables, Extraction)
    assert tables.text == "Before.\n\nInside.\n\nAfter."
    assert "nested too deeply" in str(found[tmp_path / "deeper.html"])


def test_a_mail_whose_page_is_a_comment_alone_keeps_its_headers(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_text("Subject: Lease\nContent-Type: text/html\n\n<!-- nothing -->\n")
    assert "Lease" in read(tmp_path / "a.eml").text


# --- EPUB


def make_epub(path: Path, *, encryption: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
            'full-path="OEBPS/book.opf"/></rootfiles></container>',
        )
        archive.writestr(
            "OEBPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            "<dc:title>The Sound</dc:title><dc:creator>A. Pilot</dc:creator></metadata><manifest>"
            '<item id="b" href="second.xhtml" media-type="application/xhtml+xml"/>'
            '<item id="a" href="first%20one.xhtml" media-type="application/xhtml+xml"/>'
            '<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/></manifest>'
            '<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/></spine></package>',
        )
        page = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
        archive.writestr("OEBPS/first one.xhtml", page.format("<h1>Dawn</h1><p>The boat left.</p>"))
        archive.writestr("OEBPS/second.xhtml", page.format("<p>It&nbsp;came back.</p><h2>Dusk</h2><p>Lamps.</p>"))
        archive.writestr("OEBPS/nav.xhtml", page.format("<p>Contents</p>"))
        if encryption:
            archive.writestr("META-INF/encryption.xml", encryption)


def test_epub_gives_chapters_in_reading_order(tmp_path: Path) -> None:
    make_epub(tmp_path / "a.epub")
    found = read(tmp_path / "a.epub")
    assert found.text == "Dawn\n\nThe boat left.\n\nIt\xa0came back.\n\nDusk\n\nLamps."
    assert (found.title, found.metadata["author"]) == ("The Sound", "A. Pilot")
    assert section_of(found, "boat") == "Dawn"
    assert section_of(found, "came back") is None, "a chapter does not inherit the headings of the one before"
    assert section_of(found, "Lamps") == "Dusk"


def test_an_epub_with_locked_chapters_is_refused(tmp_path: Path) -> None:
    reference = '<e xmlns:x="http://www.w3.org/2001/04/xmlenc#"><x:CipherReference URI="OEBPS/{}"/></e>'
    make_epub(tmp_path / "a.epub", encryption=reference.format("second.xhtml"))
    with pytest.raises(UnreadableDocument, match="DRM"):
        read(tmp_path / "a.epub")
    make_epub(tmp_path / "b.epub", encryption=reference.format("font.otf"))
    assert "boat" in read(tmp_path / "b.epub").text, "obfuscated fonts lock nothing"


# --- EML


def test_eml_gives_headers_plain_body_and_attachment_names(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["To"] = "Åse <ase@example.org>", "bo@example.org"
    message["Subject"], message["Date"] = "Größe des Stegs", "Mon, 02 Mar 2026 10:00:00 +0100"
    message.set_content("Dear Bo,\n\nthe pier is 40 m long.\n")
    message.add_alternative("<p>HTML twin</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="plan.pdf")
    (tmp_path / "a.eml").write_bytes(bytes(message))
    found = read(tmp_path / "a.eml")
    assert found.text == (
        "From: Åse <ase@example.org>\nTo: bo@example.org\nDate: Mon, 02 Mar 2026 10:00:00 +0100\n"
        "Subject: Größe des Stegs\n\nDear Bo,\n\nthe pier is 40 m long.\n\nAttachments: plan.pdf"
    )
    assert found.title == "Größe des Stegs"


def test_eml_falls_back_to_html_and_to_a_guess_at_an_unknown_charset(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(
        b"From: a@b.c\nContent-Type: text/html; charset=utf-8\n\n<h1>Hi</h1><p>caf\xc3\xa9</p>"
    )
    assert read(tmp_path / "a.eml").text == "From: a@b.c\n\nHi\n\ncafé"
    (tmp_path / "b.eml").write_bytes(b"From: a@b.c\nContent-Type: text/plain; charset=x-nonsense\n\ncaf\xc3\xa9")
    assert read(tmp_path / "b.eml").text == "From: a@b.c\n\ncafé"


def test_of_a_mail_whose_html_is_nested_too_deeply_the_rest_is_read(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@b.c", "Pier 7"
    message.set_content("<div>" * 3000 + "Inside.", subtype="html", cte="base64")
    message.add_attachment(b"Stock,Amount\nRope,12\n", maintype="text", subtype="csv", filename="stock.csv")
    (tmp_path / "a.eml").write_bytes(bytes(message))
    with ReaderPool(1) as pool:
        text = pool.read(tmp_path / "a.eml").text
    assert text.startswith("From: a@b.c\nSubject: Pier 7\n\nThe HTML was not read: it is nested too deeply.\n\n")
    assert "Attachments: stock.csv" in text and "Rope" in text and "Inside" not in text


def test_a_file_without_headers_is_no_mail(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_text("\njust words\n")
    with pytest.raises(UnreadableDocument, match="not a mail"):
        read(tmp_path / "a.eml")


# --- MSG


def make_msg(path: Path, body: dict[str, bytes]) -> None:
    sent = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    ticks = int((sent - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000
    properties = bytes(32) + struct.pack("<IIQ", 0x00390040, 6, ticks)

    def unicode(text: str) -> bytes:
        return text.encode("utf-16-le")

    path.write_bytes(
        compound_file(
            {
                "__properties_version1.0": properties,
                "__substg1.0_001A001F": unicode("IPM.Note"),
                "__substg1.0_0037001F": unicode("Pier 7"),
                "__substg1.0_0C1A001F": unicode("Åse"),
                "__substg1.0_5D01001F": unicode("ase@example.org"),
                "__substg1.0_0E04001F": unicode("Bo; Cy"),
                **body,
                "__attach_version1.0_#00000000/__substg1.0_3707001F": unicode("plan.pdf"),
            }
        )
    )


def test_msg_gives_headers_body_and_attachment_names(tmp_path: Path) -> None:
    body = "The pier is 40 m long. 🛥\r\n" * 200
    make_msg(tmp_path / "a.msg", {"__substg1.0_1000001F": body.encode("utf-16-le")})
    found = read(tmp_path / "a.msg")
    assert found.text == (
        "From: Åse <ase@example.org>\nTo: Bo; Cy\nDate: 2026-03-02 09:00:00+00:00\nSubject: Pier 7\n\n"
        + body.replace("\r\n", "\n").strip()
        + "\n\nAttachments: plan.pdf"
    )
    assert found.title == "Pier 7"


def test_msg_falls_back_to_html_and_to_old_code_pages(tmp_path: Path) -> None:
    make_msg(tmp_path / "a.msg", {"__substg1.0_10130102": b"<html><body><p>From <b>HTML</b></p></body></html>"})
    assert "\n\nFrom HTML\n\n" in read(tmp_path / "a.msg").text
    make_msg(tmp_path / "b.msg", {"__substg1.0_1000001E": "Liebe Grüße aus Größenwahn an der Förde".encode("cp1252")})
    assert "Liebe Grüße aus Größenwahn an der Förde" in read(tmp_path / "b.msg").text


@pytest.mark.parametrize(
    ("compressed", "text"),
    [
        (
            "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0",
            rb"{\rtf1\ansi\ansicpg1252\pard hello world}" b"\r\n",
        ),
        ("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0", rb"{\rtf1 WXYZWXYZWXYZWXYZWXYZ}"),
        (b"\x12\0\0\0\6\0\0\0MELA\0\0\0\0{\\rtf}".hex(), rb"{\rtf}"),
    ],
)
def test_compressed_rtf_is_as_in_the_formats_own_examples(compressed: str, text: bytes) -> None:
    data = bytes.fromhex(compressed)
    assert decompress(data) == text
    for cut in range(len(data)):
        assert text.startswith(decompress(data[:cut]))


def test_a_msg_body_that_is_only_compressed_rtf_is_read(tmp_path: Path) -> None:
    rtf = (
        rb"{\rtf1\ansi\ansicpg1252\fromhtml1{\fonttbl{\f0 A;}}{\*\htmltag64 <p>}"
        rb"The caf\'e9 is \htmlrtf \b\htmlrtf0 open."
        rb"\par{\*\htmltag72 </p>}\par Gr\u246?\u223?e.}"
    )
    packed = b"".join(b"\0" + rtf[at : at + 8] for at in range(0, len(rtf), 8))  # no run is abbreviated
    head = struct.pack("<II4sI", len(packed) + 12, len(rtf), b"LZFu", 0)
    make_msg(tmp_path / "a.msg", {"__substg1.0_10090102": head + packed})
    assert "\n\nThe café is open.\n\nGröße.\n\nAttachments: plan.pdf" in read(tmp_path / "a.msg").text
    make_msg(tmp_path / "a.msg", {"__substg1.0_10090102": head.replace(b"LZFu", b"LZMA") + packed})
    with pytest.raises(UnreadableDocument, match="compressed in an unknown way"):
        read(tmp_path / "a.msg")


def test_other_msg_files_are_skipped_and_broken_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "catalogue.msg").write_text("::msgcat::mcset de Yes Ja")
    with pytest.raises(UnsupportedType, match="not an Outlook message"):
        read(tmp_path / "catalogue.msg")
    make_msg(tmp_path / "a.msg", {})
    data = (tmp_path / "a.msg").read_bytes()
    (tmp_path / "a.msg").write_bytes(data[:900])
    with pytest.raises(UnreadableDocument, match=r"a\.msg"):
        read(tmp_path / "a.msg")
