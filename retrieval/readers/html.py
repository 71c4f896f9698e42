"""HTML as people write it: text by block, headings as sections; scripts, styles and navigation left out."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval.errors import UnreadableDocument
from retrieval.readers.encoding import decode
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.tables import add_plain_table

_SKIPPED = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "nav",
        "svg",
        "iframe",
        "object",
        "embed",
        "button",
        "select",
        "input",
        "head",
        "title",
        "link",
        "meta",
        "canvas",
        "audio",
        "video",
    ]
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
        "caption",
    ]
)
_SKIPPED_ROLES = frozenset(["navigation", "search", "banner", "contentinfo"])
_SPACE = re.compile(r"[ \t\n\r\f]+")
_BREAK = "\0"
_PILCROW = "\u00b6"
"""Documentation generators put a pilcrow link behind headings and definitions."""


def read_html(path: Path) -> Extraction:
    """Raises UnreadableDocument when no text can be found in it."""
    from lxml import etree

    text = decode(path.read_bytes(), declared=True)
    # An encoding declaration inside a string is refused by lxml, though it no longer means anything.
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff"))
    if not text.strip():
        raise UnreadableDocument("It is empty.")
    try:
        root = parse_html(text)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise UnreadableDocument(f"It is not HTML: {error}.") from error
    builder = Builder()
    heads = root.xpath("//head/title | //title[not(ancestor::svg)]")
    builder.title = inline_text(heads[0]) if heads else ""
    add_html(builder, root)
    return builder.build("text/html")


def parse_html(source: str | bytes, encoding: str | None = None) -> Any:
    """The tree of a page; an empty paragraph for one of comments alone. Raises UnreadableDocument where elements stand
    in each other deeper than 2,048 levels, at which the parser drops all that follows."""
    from lxml import etree
    from lxml import html as lxml_html

    # Without `huge_tree` it does so at 256, which a few hundred tags that were never closed reach.
    parser = lxml_html.HTMLParser(huge_tree=True, encoding=encoding)
    try:
        root = lxml_html.document_fromstring(source, parser=parser)
    except etree.ParserError:
        return lxml_html.document_fromstring("<p></p>")
    if any("Excessive depth" in entry.message for entry in parser.error_log):
        raise UnreadableDocument("It is nested too deeply.")
    return root


def add_html(builder: Builder, root: Any, *, level: int = 0) -> None:
    """Append the blocks of an element; `level` is added to that of its headings (chapters of a book)."""
    for text, kind, depth, table in _blocks(root):
        if table is not None:
            add_plain_table(builder, table, has_header=True if depth else None, name=text)
        elif kind == "heading":
            builder.heading(level + depth, text)
        else:
            builder.add(text, kind, separator="\n" if kind == "list" else "\n\n")


_Block = tuple[str, str, int, list[list[str]] | None]


def _blocks(root: Any) -> Iterator[_Block]:
    """Blocks in order as (text or the table's name, kind, heading level or header flag, table rows)."""
    inline: list[str] = []

    def flush(kind: str = "text") -> Iterator[_Block]:
        text = _collapse("".join(inline))
        if text == "-":
            return  # the bullet waits for the paragraph inside its item
        inline.clear()
        if text:
            yield text, kind, 0, None

    def walk(node: Any, kind: str) -> Iterator[_Block]:
        name = tag(node)
        if _skipped(node, name):
            return
        if name in ("h1", "h2", "h3", "h4", "h5", "h6"):
            yield from flush(kind)
            if text := inline_text(node).rstrip(_PILCROW).rstrip():
                yield text, "heading", int(name[1]), None
            return
        if name == "pre":
            yield from flush(kind)
            yield "".join(_strings(node)), "code", 0, None
            return
        if name == "table" and not node.xpath(".//*[local-name()='table']") and (rows := _rows(node)):
            yield from flush(kind)
            if max(len(cells) for cells, _ in rows) > 1:
                captions = [inline_text(caption) for caption in node.xpath("./*[local-name()='caption']")]
                yield from ((caption, "text", 0, None) for caption in captions)
                yield (
                    " ".join(captions),
                    "table",
                    int(all(rows[0][1]) and len(rows[0][1]) > 1),
                    [cells for cells, _ in rows],
                )
                return
        if name == "br":
            inline.append(_BREAK)
        block = name in _BLOCKS
        if block:
            yield from flush(kind)
        if name in ("li", "dd"):
            kind = "list"
            inline.append("- " if name == "li" else "  ")
        inline.append(node.text or "")
        for child in node:
            if not isinstance(child.tag, str):
                inline.append(html.unescape(child.text or "") if _is_entity(child) else "")
            else:
                yield from walk(child, kind)
            inline.append(child.tail or "")
        if block:
            yield from flush(kind)

    yield from walk(root, "text")
    yield from flush()


def _skipped(node: Any, name: str) -> bool:
    if name in _SKIPPED or node.get("role") in _SKIPPED_ROLES or "hidden" in node.attrib:
        return True
    style = (node.get("style") or "").replace(" ", "").lower()
    if "display:none" in style:
        return True
    # A footer inside an article or quotation belongs to it; the page's own is boilerplate.
    return name == "footer" and not any(
        tag(up) in ("article", "main", "section", "blockquote") for up in node.iterancestors()
    )


def _rows(table: Any) -> list[tuple[list[str], list[bool]]]:
    rows = []
    for row in table.iter():
        if isinstance(row.tag, str) and tag(row) == "tr":
            cells = [cell for cell in row if isinstance(cell.tag, str) and tag(cell) in ("td", "th")]
            texts: list[str] = []
            for cell in cells:
                texts.append(inline_text(cell))
                span = cell.get("colspan", "1")
                texts.extend([""] * (min(int(span), 100) - 1 if span.isdigit() else 0))
            if cells:
                rows.append((texts, [tag(cell) == "th" for cell in cells]))
    return rows


def tag(node: Any) -> str:
    """The element's name without its namespace, in lower case."""
    return str(node.tag).rsplit("}", 1)[-1].lower()


def inline_text(node: Any) -> str:
    """All text of an element on one line."""
    return " ".join("".join(_strings(node)).split())


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node.tag, str):
        name = tag(node)
        if name in ("script", "style", "template", "svg"):
            return
        if name == "br":
            yield "\n"
        yield node.text or ""
        for child in node:
            yield from _strings(child)
            yield child.tail or ""
            if isinstance(child.tag, str) and tag(child) in _BLOCKS:
                yield " "
    elif _is_entity(node):
        yield html.unescape(node.text or "")


def _is_entity(node: Any) -> bool:
    return type(node).__name__ == "_Entity"


def _collapse(text: str) -> str:
    """White space as a browser shows it: line breaks only where the markup asks for one."""
    text = "\n".join(_SPACE.sub(" ", part).strip() for part in text.split(_BREAK)).strip()
    return text.removesuffix(_PILCROW).rstrip()
