"""Mail: EML and Outlook's MSG. Headers first, then the body (plain text over HTML over RTF), then the names of
attachments, and of attached tables (CSV, spreadsheets) the rows."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

from retrieval.errors import UnreadableDocument, UnsupportedType
from retrieval.readers.compressed_rtf import decompress
from retrieval.readers.encoding import decode
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.rtf import plain_text

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_MAX_BODY = 64 * 2**20
_MAX_TABLES = 20
"""Attached tables of one mail that are read."""
_MAX_TABLE_BYTES = 20 * 2**20
_TABLES = frozenset({".csv", ".tsv", ".xlsx", ".xlsm", ".ods"})

_Attachment = tuple[str, Callable[[], bytes]]
"""Its name, and what gives its bytes."""


def read_eml(path: Path) -> Extraction:
    """Raises UnreadableDocument when it has no mail headers."""
    from email import message_from_binary_file, policy

    with path.open("rb") as file:
        message = message_from_binary_file(file, policy=policy.default)
    if not message.keys():
        raise UnreadableDocument("It is not a mail: it has no headers.")
    headers = {name: _header(message, name) for name in _HEADERS}
    body = message.get_body(("plain",)) or message.get_body(("html",))
    attached = (
        [
            (part.get_filename() or part.get_content_type(), partial(_payload, part))
            for part in message.iter_attachments()
        ]
        if message.is_multipart()
        else []
    )
    content, is_html = _content(body), body is not None and body.get_content_type() == "text/html"
    return _mail(headers, content, is_html, attached, "message/rfc822")


def _payload(part: Any) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _header(message: Any, name: str) -> str:
    try:
        return str(message.get(name, ""))
    except Exception:  # noqa: BLE001  the standard parser trips over some malformed headers; the mail is still readable
        raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
        return str(raw)


def _content(part: Any) -> str:
    if part is None:
        return ""
    try:
        return str(part.get_content())
    except (LookupError, UnicodeError, KeyError, ValueError):
        payload = part.get_payload(decode=True)
        return decode(payload) if isinstance(payload, bytes) else ""


def read_msg(path: Path) -> Extraction:
    """Raises UnreadableDocument when it is broken, UnsupportedType when it is another kind of .msg file."""
    import olefile

    if not olefile.isOleFile(path):
        raise UnsupportedType("It is not an Outlook message.")
    with olefile.OleFileIO(path) as ole:
        return _read_msg(ole)


def _read_msg(ole: Any) -> Extraction:
    if not ole.exists("__properties_version1.0"):
        raise UnsupportedType("It is not an Outlook message.")
    sender, address = _property(ole, "0C1A"), _property(ole, "5D01") or _property(ole, "0C1F")
    headers = {
        "From": f"{sender} <{address}>" if sender and "@" in address and sender != address else sender or address,
        "To": _property(ole, "0E04"),
        "Cc": _property(ole, "0E03"),
        "Date": _date(ole),
        "Subject": _property(ole, "0037"),
    }
    body, is_html = _property(ole, "1000"), False
    if not body.strip() and ole.exists("__substg1.0_10130102"):
        body, is_html = decode(_stream(ole, "__substg1.0_10130102"), declared=True), True
    elif not body.strip() and ole.exists("__substg1.0_10090102"):
        body = plain_text(decompress(_stream(ole, "__substg1.0_10090102")))
    folders = sorted({entry[0] for entry in ole.listdir() if entry[0].startswith("__attach_version1.0_")})
    attached = [
        (
            _property(ole, "3707", folder) or _property(ole, "3704", folder) or _property(ole, "3001", folder),
            partial(_attached_bytes, ole, f"{folder}/__substg1.0_37010102"),
        )
        for folder in folders
    ]
    return _mail(headers, body, is_html, attached, "application/vnd.ms-outlook")


def _attached_bytes(ole: Any, name: str) -> bytes:
    return _stream(ole, name) if ole.exists(name) else b""


def _property(ole: Any, tag: str, folder: str = "") -> str:
    """A text property: as UTF-16 (001F) or in the sender's code page (001E)."""
    for suffix in ("001F", "001E"):
        name = f"{folder}/__substg1.0_{tag}{suffix}" if folder else f"__substg1.0_{tag}{suffix}"
        if ole.exists(name):
            data = _stream(ole, name)
            text = data.decode("utf-16-le", "replace") if suffix == "001F" else decode(data.rstrip(b"\0"))
            return text.rstrip("\0")
    return ""


def _stream(ole: Any, name: str) -> bytes:
    if ole.get_size(name) > _MAX_BODY:
        raise UnreadableDocument(f"Its part {name!r} is larger than {_MAX_BODY // 2**20} MiB.")
    data: bytes = ole.openstream(name).read()
    return data


def _date(ole: Any) -> str:
    """When it was submitted (0039) or delivered (0E06), from the 16-byte entries behind the 32-byte header."""
    data = _stream(ole, "__properties_version1.0")
    for wanted in (0x00390040, 0x0E060040):
        for at in range(32, len(data) - 15, 16):
            if int.from_bytes(data[at : at + 4], "little") == wanted:
                ticks = int.from_bytes(data[at + 8 : at + 16], "little")
                try:
                    return (datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)).isoformat(
                        " ", "seconds"
                    )
                except OverflowError:
                    continue
    return ""


def _mail(
    headers: dict[str, str], body: str, is_html: bool, attachments: Sequence[_Attachment], media_type: str
) -> Extraction:
    builder = Builder()
    for name, value in headers.items():
        if value := " ".join(value.split()):
            builder.add(f"{name}: {value}", "note", separator="\n")
    if is_html:
        _add_html_body(builder, body)
    else:
        builder.add(body.strip())
    if names := [name for name, _ in attachments if name]:
        builder.enter(1, "")
        builder.add(f"Attachments: {', '.join(names)}", "note")
        tables = [one for one in attachments if PurePath(one[0]).suffix.lower() in _TABLES]
        for name, data in tables[:_MAX_TABLES]:
            _add_table(builder, PurePath(name).name, data)
    builder.metadata = {"author": headers["From"], "date": headers["Date"]}
    return builder.build(media_type, title=headers["Subject"])


def _add_table(builder: Builder, name: str, data: Callable[[], bytes]) -> None:
    """The rows of an attached table; why there are none, where it cannot be read."""
    from retrieval.readers.registry import read  # it names this module

    builder.enter(1, name)
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"attached{PurePath(name).suffix.lower()}"
        try:
            content = data()
            if len(content) > _MAX_TABLE_BYTES:
                raise UnreadableDocument(f"it has more than {_MAX_TABLE_BYTES // 2**20} MiB")
            file.write_bytes(content)
            builder.append(read(file), name)
        except UnreadableDocument as error:
            builder.add(f"{name} was not read: {error.message.removeprefix(f'{file}: ')}", "note")
    builder.enter(1, "")


def _add_html_body(builder: Builder, body: str) -> None:
    from retrieval.readers.html import add_html, parse_html

    if not body.strip():
        return
    try:
        root = parse_html(body.encode("utf-8"), "utf-8")
    except UnreadableDocument as error:
        builder.add(f"The HTML was not read: {error.message[:1].lower()}{error.message[1:]}", "note")
    else:
        add_html(builder, root)
