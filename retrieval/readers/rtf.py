"""RTF: its plain text."""

from pathlib import Path

from retrieval.errors import UnreadableDocument
from retrieval.readers.extraction import Builder, Extraction


def read_rtf(path: Path) -> Extraction:
    """Raises UnreadableDocument when it does not begin as RTF does, or the parser trips over it."""
    from striprtf.striprtf import rtf_to_text

    data = path.read_bytes()
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableDocument("It is not an RTF file.")
    try:
        # RTF itself is ASCII; other bytes are in the code page that it names, and latin-1 keeps each one.
        text = str(rtf_to_text(data.decode("latin-1"), errors="replace"))  # type: ignore[no-untyped-call]  # it ships no types
    except MemoryError:
        raise
    except Exception as error:
        raise UnreadableDocument(f"Its RTF is broken: {type(error).__name__}: {error}.") from error
    builder = Builder()
    for paragraph in text.split("\n"):
        builder.add(paragraph.strip(), separator="\n")
    return builder.build("application/rtf")
