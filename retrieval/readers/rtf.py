"""RTF: its plain text."""

from pathlib import Path

from retrieval.errors import UnreadableDocument
from retrieval.readers.extraction import Builder, Extraction


def read_rtf(path: Path) -> Extraction:
    """Raises UnreadableDocument when it does not begin as RTF does."""
    from striprtf.striprtf import rtf_to_text

    data = path.read_bytes()
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableDocument("It is not an RTF file.")
    # RTF itself is ASCII; other bytes are in the code page that it names, and latin-1 keeps each one.
    text = str(rtf_to_text(data.decode("latin-1"), errors="replace"))  # type: ignore[no-untyped-call]  # it ships no types
    builder = Builder()
    for paragraph in text.split("\n"):
        row = paragraph.strip()
        # The parser closes each cell of a table with a bar.
        cells = [cell for part in row.split("|") if (cell := part.strip())] if row.endswith("|") else [row]
        builder.add(" | ".join(cells), "table" if len(cells) > 1 else "text", separator="\n")
    return builder.build("application/rtf")
