"""RTF: its plain text."""

from pathlib import Path

from retrieval.errors import UnreadableDocument
from retrieval.readers.extraction import Builder, Extraction


def read_rtf(path: Path) -> Extraction:
    """Raises UnreadableDocument when it does not begin as RTF does."""
    data = path.read_bytes()
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableDocument("It is not an RTF file.")
    builder = Builder()
    for paragraph in plain_text(data).split("\n"):
        row = paragraph.strip()
        # The parser closes each cell of a table with a bar.
        cells = [cell for part in row.split("|") if (cell := part.strip())] if row.endswith("|") else [row]
        builder.add(" | ".join(cells), "table" if len(cells) > 1 else "text", separator="\n")
    return builder.build("application/rtf")


def plain_text(data: bytes) -> str:
    """The text of RTF, a paragraph a line."""
    from striprtf.striprtf import rtf_to_text

    # RTF itself is ASCII; other bytes are in the code page that it names, and latin-1 keeps each one.
    return str(rtf_to_text(data.decode("latin-1"), errors="replace"))  # type: ignore[no-untyped-call]  # it ships no types
