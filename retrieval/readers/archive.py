"""ZIP containers (DOCX, PPTX, XLSX, ODT, EPUB) and their XML, bounded before anything is unpacked."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

from retrieval.errors import UnreadableDocument

MAX_MEMBERS = 20_000
MAX_MEMBER_BYTES = 256 * 2**20
MAX_TOTAL_BYTES = 1024 * 2**20
MAX_RATIO = 250
"""Above this a member is a bomb: real Office XML compresses 5 to 60 times, very regular sheets to about 150."""
_SMALL = 1024 * 1024


def open_archive(path: Path) -> zipfile.ZipFile:
    """The container, its declared sizes checked. zipfile never gives more bytes than a member declares.

    Raises UnreadableDocument for a broken, encrypted or dangerous one.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        if _is_ole(path):
            raise UnreadableDocument("It is encrypted, or in an old binary format.", _SAVE) from error
        raise UnreadableDocument(f"It is broken or cut short: {error}.") from error
    try:
        _check(archive.infolist())
    except UnreadableDocument:
        archive.close()
        raise
    return archive


_SAVE = "Remove its password, or save it in the current format."


def _check(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_MEMBERS:
        raise UnreadableDocument(f"It holds {len(members):,} parts, more than {MAX_MEMBERS:,}.")
    if sum(member.file_size for member in members) > MAX_TOTAL_BYTES:
        raise UnreadableDocument(f"It unpacks to more than {MAX_TOTAL_BYTES // 2**20} MiB.")
    for member in members:
        if member.flag_bits & 1:
            raise UnreadableDocument("It is encrypted.", "Remove its password.")
        if member.file_size <= _SMALL:
            continue
        if member.file_size > MAX_MEMBER_BYTES or member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise UnreadableDocument(f"Its part {member.filename!r} unpacks to {member.file_size // 2**20} MiB.")


def refuse_entities(archive: zipfile.ZipFile) -> None:
    """Raise UnreadableDocument if an XML part declares a document type, which Office formats never do."""
    for member in archive.infolist():
        if member.filename.endswith((".xml", ".rels")) and b"<!DOCTYPE" in part(archive, member.filename, 4096):
            raise UnreadableDocument(f"Its part {member.filename!r} declares XML entities.")


def part(archive: zipfile.ZipFile, name: str, first: int = -1) -> bytes:
    """The bytes of a member, or its `first` ones. Raises UnreadableDocument when it is missing or damaged."""
    try:
        with archive.open(name) as member:
            return member.read(first)
    except KeyError as error:
        raise UnreadableDocument(f"Its part {name!r} is missing.") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise UnreadableDocument(f"Its part {name!r} is damaged: {error}.") from error


def parse_xml(data: bytes, *, recover: bool = False) -> Any:
    """The root element, without expanding entities, loading DTDs or reaching the network.

    Raises UnreadableDocument for XML that is not well formed.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        recover=recover,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise UnreadableDocument(f"Its XML is broken: {error}.") from error
    if root is None:
        raise UnreadableDocument("Its XML is empty.")
    return root


def _is_ole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8) == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    except OSError:
        return False
