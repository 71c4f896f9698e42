"""Files made to do harm, generated when needed: the kinds that readers of documents are attacked with."""

import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(12)
)
BILLION_LAUGHS = f"{_LAUGHS}]>"
QUADRATIC = f'<!DOCTYPE x [<!ENTITY m "{"ha" * 50_000}">]>'
_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
_TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0"


def _zip(parts: dict[str, bytes | str]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in parts.items():
                archive.writestr(name, data)

    return write


def _lying_zip(path: Path) -> None:
    """A part that says it unpacks to 100 bytes and unpacks to 50 MB."""
    data = b"<w>" + b"a" * 20_000_000
    _zip({"word/document.xml": data})(path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(struct.pack("<I", len(data)), struct.pack("<I", 100)))


def _docx(head: str, body: str) -> Callable[[Path], None]:
    return _zip({"word/document.xml": f'{head}<w:document xmlns:w="{_W}"><w:body>{body}</w:body></w:document>'})


def _odf(kind: str, head: str, body: str) -> Callable[[Path], None]:
    spaces = f'xmlns:office="{_OFFICE}" xmlns:text="{_TEXT}" xmlns:table="{_TABLE}"'
    inner = f"<office:{kind}>{body}</office:{kind}>"
    content = f"{head}<office:document-content {spaces}><office:body>{inner}</office:body></office:document-content>"
    return _zip({"mimetype": f"application/vnd.oasis.opendocument.{kind}", "content.xml": content})


def _epub(head: str, href: str) -> Callable[[Path], None]:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book.opf"/></rootfiles></container>'
    )
    book = (
        f'{head}<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="{href}" '
        'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>'
    )
    return _zip({"META-INF/container.xml": container, "book.opf": book, "../../evil.txt": "outside"})


_HELVETICA = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def _pdf(content: bytes, font: str = _HELVETICA, kids: str = "[3 0 R]") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        packed = zlib.compress(content)
        head = f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode()
        objects = [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            f"<< /Type /Pages /Kids {kids} /Count 1 >>".encode(),
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R "
            b"/Resources << /Font << /F 5 0 R >> >> >>",
            head + packed + b"\nendstream",
            font.encode(),
        ]
        out, places = bytearray(b"%PDF-1.4\n"), []
        for number, body in enumerate(objects, start=1):
            places.append(len(out))
            out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
        table = "".join(f"{place:010} 00000 n \n" for place in places)
        out += f"xref\n0 6\n0000000000 65535 f \n{table}trailer\n<< /Size 6 /Root 1 0 R >>\n".encode()
        out += f"startxref\n{out.rindex(b'xref')}\n%%EOF\n".encode()
        path.write_bytes(out)

    return write


def _mail(depth: int) -> str:
    """A message in a message in a message."""
    head = "From: a@example.org\nSubject: level {}\nContent-Type: message/rfc822\n\n"
    return "".join(map(head.format, range(depth))) + "From: b@example.org\nSubject: last\n\nthe innermost words\n"


def _bytes(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def _sparse(size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return write


_NO_GLYPHS = (
    "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1 1] /FontMatrix [1 0 0 1 0 0] /CharProcs << >> "
    "/Encoding << /Type /Encoding /Differences [65 /a] >> /FirstChar 65 /LastChar 65 /Widths [1] >>"
)
_CELL = '<table:table-cell table:number-columns-repeated="16000"><text:p>x</text:p></table:table-cell>'
_SHEET = f'<table:table><table:table-row table:number-rows-repeated="1000000">{_CELL}</table:table-row></table:table>'
_INNER = b"PK\x03\x04" + b"\0" * 26
_NOISE = random.Random(7).randbytes(20_000)

FILES: dict[str, Callable[[Path], None]] = {
    "bomb.docx": _zip({"word/document.xml": b" " * 100_000_000}),
    "lying.docx": _lying_zip,
    "many.docx": _zip({f"part{n}": "" for n in range(20_001)}),
    "laughs.docx": _docx(BILLION_LAUGHS, "&m;"),
    "quadratic.docx": _docx(QUADRATIC, "&m;" * 50_000),
    "deep.docx": _docx("", "<w:p>" * 50_000),
    "laughs.odt": _odf("text", BILLION_LAUGHS, "<text:p>&m;</text:p>"),
    "quadratic.odt": _odf("text", QUADRATIC, f"<text:p>{'&m;' * 50_000}</text:p>"),
    "repeated.ods": _odf("spreadsheet", "", _SHEET),
    "laughs.epub": _epub(BILLION_LAUGHS, "&m;"),
    "traversal.epub": _epub("", "../../../../../etc/passwd"),
    "traversal.docx": _zip({"../../evil.txt": "outside", "word/document.xml": "<a/>"}),
    "nested.xlsx": _zip({"xl/worksheets/a.zip": _INNER, "a.xlsx": _INNER}),
    "nested.zip": _zip({"a.zip": _INNER, "b.docx": _INNER}),
    "laughs.html": _bytes(f"{BILLION_LAUGHS}<html><body>&m;</body></html>".encode()),
    "laughs.xml": _bytes(f"{BILLION_LAUGHS}<a>&m;</a>".encode()),
    "deep.html": _bytes(b"<div>" * 200_000),
    "line.txt": _sparse(1 << 30),
    "long.csv": _bytes(b"a," * 500_000),
    "long.txt": _bytes(b"a" * 30_000_000),
    "long.json": _bytes(b'{"a": "' + b"b" * 25_000_000 + b'"}'),
    "deep.json": _bytes(b"[" * 500_000),
    "surrogate.json": _bytes(b'{"a": "\\ud800 lone", "b": "\\u0000 nul"}'),
    "nul.txt": _bytes(b"a\0b\0" * 1000),
    "noise.txt": _bytes(_NOISE),
    "noise.docx": _bytes(_NOISE),
    "noise.pdf": _bytes(b"%PDF-1.7\n" + _NOISE),
    "noise.msg": _bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + _NOISE),
    "noise.rtf": _bytes(b"{\\rtf1 " + _NOISE),
    "noise.eml": _bytes(b"From: \xff\xfe\nContent-Type: text/plain; charset=nonsense\n\n" + _NOISE),
    "halves.txt": _bytes("wörds €".encode("utf-16-le")[:-1] + b"\xff"),
    "braces.rtf": _bytes(b"{\\rtf1 " + b"{" * 200_000),
    "deep.eml": _bytes(_mail(100).encode()),
    "deeper.eml": _bytes(_mail(5000).encode()),
    "parts.eml": _bytes(b"From: a@b.c\nContent-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\nhi\n" * 5_000),
    "mute.pdf": _pdf(b"BT /F 12 Tf 10 10 Td (AAAA) Tj ET", _NO_GLYPHS),
    "loop.pdf": _pdf(b"", kids="[2 0 R 2 0 R]"),
    "bomb.pdf": _pdf(b" " * 100_000_000),
}
"""Name to what writes it."""


def make(folder: Path) -> None:
    """Write all of them, with the entries of a folder that are no documents: links in circles, pipes."""
    folder.mkdir()
    for name, write in FILES.items():
        write(folder / name)
    os.mkfifo(folder / "pipe.txt")
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    (folder / "self.txt").symlink_to(folder / "self.txt")
    (folder / "device.txt").symlink_to("/dev/zero")
    (folder / "\x1b[31m\n.txt").write_text("A name that a terminal would obey.")
