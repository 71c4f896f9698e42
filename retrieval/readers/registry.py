"""Which reader takes which file, by name; readers and their parsers are loaded on first use."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from retrieval.errors import EmptyText, UnreadableDocument, UnsupportedType
from retrieval.readers.encoding import looks_like_text
from retrieval.readers.extraction import Extraction
from retrieval.readers.ocr import Scans

_READERS: dict[str, str] = {
    "pdf.read_pdf": ".pdf",
    "image.read_image": ".png .jpg .jpeg .tif .tiff",
    "docx.read_docx": ".docx .docm .dotx",
    "pptx.read_pptx": ".pptx .ppsx .pptm",
    "xlsx.read_xlsx": ".xlsx .xlsm",
    "odf.read_odf": ".odt .ods .odp .ott",
    "rtf.read_rtf": ".rtf",
    "html.read_html": ".html .htm .xhtml",
    "epub.read_epub": ".epub",
    "mail.read_eml": ".eml",
    "mail.read_msg": ".msg",
    "text.read_markdown": ".md .markdown .mdown .mkd",
    "text.read_rst": ".rst .rest",
    "text.read_plain": (".txt .text .log .adoc .asciidoc .org .tex .cfg .conf .ini .toml .yaml .yml .xml .diff .patch"),
    "subtitles.read_subtitles": ".srt .vtt",
    "csv_rows.read_csv": ".csv .tsv .tab",
    "json_data.read_json": ".json",
    "json_data.read_jsonl": ".jsonl .ndjson",
    "notebook.read_notebook": ".ipynb",
    "text.read_code": (
        ".py .pyi .c .h .cc .cpp .cxx .hh .hpp .java .js .mjs .cjs .jsx .ts .tsx .go .rs .rb .php .cs .swift .kt .kts "
        ".scala .pl .pm .lua .r .jl .hs .ml .mli .ex .exs .erl .clj .el .lisp .scm .sh .bash .zsh .fish .ps1 .bat .sql "
        ".css .scss .vim .tcl .f .f90 .pas .d .dart .zig .nim .m .mm .cu .cuh .glsl .proto .graphql .cmake .mk .tf "
        ".gradle .groovy .vue .svelte"
    ),
}
_OPTICAL = frozenset({"pdf.read_pdf", "image.read_image"})
"""Readers that may have to recognise pictures."""
_BY_SUFFIX = {suffix: reader for reader, suffixes in _READERS.items() for suffix in suffixes.split()}
_OLD_OFFICE = {".doc": "DOCX", ".xls": "XLSX", ".ppt": "PPTX", ".dot": "DOCX", ".pps": "PPTX"}
_TEXT_NAMES = frozenset(
    [
        "readme",
        "news",
        "changelog",
        "changes",
        "copyright",
        "license",
        "licence",
        "copying",
        "authors",
        "todo",
        "install",
        "faq",
        "thanks",
        "contributing",
    ]
)
"""Files of these names are text whatever follows the dot (README.Debian, NEWS.2)."""


def supported(path: Path) -> bool:
    """Whether a reader takes the file: by its suffix, or, without a telling one, because it is UTF-8 text."""
    return _reader_name(path) is not None


def is_picture(path: Path) -> bool:
    """Whether all that the file can hold is what OCR recognises."""
    return _BY_SUFFIX.get(path.suffix.lower()) == "image.read_image"


def read(path: Path, scans: Scans | None = None) -> Extraction:
    """Read a file in this process, without limits on time or memory; `ReaderPool` sets those.

    `scans` says how pictures of pages are read. Raises UnsupportedType when no reader takes the file, EmptyText when
    it is a text file without text, UnreadableDocument when its reader cannot give text from it. The message names the
    file.
    """
    name = _reader_name(path)
    if name is None:
        newer = _OLD_OFFICE.get(path.suffix.lower())
        mend = f"Save it as {newer}." if newer else ""
        raise UnsupportedType(f"{path}: no reader for {path.suffix or 'this kind of file'}.", mend)
    module, function = name.split(".")
    reader: Callable[..., Extraction] = getattr(import_module(f"retrieval.readers.{module}"), function)
    nothing = EmptyText if module == "text" else UnreadableDocument  # a PDF without a byte is broken
    try:
        if path.stat().st_size == 0:
            raise nothing("It is empty.")
        extraction = reader(path, scans or Scans()) if name in _OPTICAL else reader(path)
        if not extraction.text.strip():
            raise nothing("It holds no text.")
    except UnreadableDocument as error:
        raise type(error)(f"{path}: {error.message[:1].lower()}{error.message[1:]}", error.mend) from error
    except OSError as error:
        raise UnreadableDocument(f"{path}: {error.strerror or error}.") from error
    except RecursionError as error:
        raise UnreadableDocument(f"{path}: it is nested too deeply.") from error
    except MemoryError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise UnreadableDocument(f"{path}: it is broken, or not what its name says ({reason}).") from error
    if extraction.title:
        return extraction
    return Extraction(
        extraction.text, path.stem, extraction.media_type, extraction.spans, extraction.pages, extraction.metadata
    )


def _reader_name(path: Path) -> str | None:
    if name := _BY_SUFFIX.get(path.suffix.lower()):
        return name
    if path.suffix.lower() in _OLD_OFFICE:
        return None
    if not path.suffix or path.stem.lower() in _TEXT_NAMES:
        # A pipe or a terminal would be waited for, and its keys taken away.
        return "text.read_plain" if path.is_file() and looks_like_text(path) else None
    return None
