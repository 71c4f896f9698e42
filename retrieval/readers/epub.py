"""EPUB: its chapters in reading order, headings as sections."""

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from retrieval.errors import UnreadableDocument
from retrieval.readers.archive import open_archive, parse_xml, part
from retrieval.readers.encoding import decode
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.html import add_html, parse_html

_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_ENCRYPTION = "{http://www.w3.org/2001/04/xmlenc#}"


def read_epub(path: Path) -> Extraction:
    """Raises UnreadableDocument when it is broken or its chapters are encrypted (DRM)."""
    with open_archive(path) as archive:
        names = set(archive.namelist())
        container = parse_xml(part(archive, "META-INF/container.xml"), recover=True)
        root_file = container.find(f".//{_CONTAINER}rootfile")
        if root_file is None or not root_file.get("full-path"):
            raise UnreadableDocument("Its container names no package.")
        package_name = root_file.get("full-path")
        package = parse_xml(part(archive, package_name), recover=True)
        chapters = _chapters(package, posixpath.dirname(package_name))
        if not chapters:
            raise UnreadableDocument("Its package lists no chapters.")
        locked = _encrypted(archive, names)
        if any(name in locked for name in chapters):
            raise UnreadableDocument("Its chapters are encrypted (DRM).")
        builder = Builder()
        for name in chapters:
            if name not in names:
                continue  # the other chapters are still worth having
            builder.enter(1, "")
            add_html(builder, _tree(part(archive, name)))
    builder.metadata = {
        "author": ", ".join(node.text or "" for node in package.iter(f"{_DC}creator")),
        "language": package.findtext(f".//{_DC}language") or "",
    }
    return builder.build("application/epub+zip", title=package.findtext(f".//{_DC}title") or "")


def _chapters(package: Any, folder: str) -> list[str]:
    manifest = {item.get("id"): item for item in package.iter(f"{_OPF}item")}
    names = []
    for reference in package.iter(f"{_OPF}itemref"):
        item = manifest.get(reference.get("idref"))
        if item is None or "nav" in (item.get("properties") or "").split():
            continue
        if "html" in (item.get("media-type") or "") and item.get("href"):
            names.append(posixpath.normpath(posixpath.join(folder, unquote(item.get("href")))))
    return names


def _encrypted(archive: Any, names: set[str]) -> set[str]:
    if "META-INF/encryption.xml" not in names:
        return set()
    tree = parse_xml(part(archive, "META-INF/encryption.xml"), recover=True)
    return {unquote(node.get("URI", "")) for node in tree.iter(f"{_ENCRYPTION}CipherReference")}


def _tree(data: bytes) -> Any:
    """A chapter as XML, which it should be, or as HTML, which it often is."""
    try:
        return parse_xml(data)
    except UnreadableDocument:
        text = re.sub(r"^\s*<\?xml[^>]*\?>", "", decode(data, declared=True))
        return parse_html(text)
