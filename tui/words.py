"""How numbers, places and states read on the screen. Pure functions; nothing here depends on colour."""

import os
from dataclasses import asdict

from app.answer import Citation, Stage, Status, Window
from app.places import ON_DISK, beside_title
from tui.rows import AddedRow, ModelRow

STATUS_WORDS: dict[Status, str] = {
    "verified": "✓ verified",
    "repaired": "~ repaired",
    "misattributed": "! misattributed",
    "not_found": "✗ not found",
}
"""A sign and a word for each status, so that neither colour nor the sign alone carries it."""

STATUS_MEANS: dict[Status, str] = {
    "verified": "The quote stands in the source exactly as cited.",
    "repaired": "The quote differed in small ways; it is shown as the source has it.",
    "misattributed": "The quote stands in another place than the one cited.",
    "not_found": "These words were found in no source. Do not rely on them.",
}

STAGE_WORDS: dict[Stage, str] = {
    "wait": "Waiting for another question's end",
    "load": "Loading the model",
    "recall": "Recalling what you told me",
    "retrieve": "Searching the library",
    "pack": "Choosing what fits the window",
    "read": "Reading the passages",
    "step": "Asking one thing after the other",
    "answer": "Answering",
    "mend": "Rewriting what nothing supports",
    "check": "Checking the citations",
    "remember": "Noting the turn",
}

PARTS = ("system", "memories", "passages", "documents", "history", "question")
"""of the context window, in the order of the prompt"""
UNITS = ("B", "KB", "MB", "GB", "TB")


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 file`, `12,345 files`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def short(number: float) -> str:
    """Three significant digits at most: `950`, `8.2K`, `131K`, `15.7B`."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= limit * 0.9995:
            scaled = number / limit
            return (f"{scaled:.1f}" if scaled < 99.95 else f"{scaled:.0f}").removesuffix(".0") + unit
    return f"{number:.0f}"


def size(bytes: float) -> str:
    """`950 B`, `8.2 KB`, `15.7 GB`: powers of 1000, as file managers count."""
    power = 0
    while bytes >= 999.5 and power < len(UNITS) - 1:
        bytes, power = bytes / 1000, power + 1
    return f"{bytes:.0f} {UNITS[power]}" if power == 0 or bytes >= 99.95 else f"{bytes:.1f} {UNITS[power]}"


def percent(part: int, whole: int) -> str:
    """`<1%` for what is there but small, so that nothing that takes room reads as nothing."""
    share = 100 * part / max(whole, 1)
    return "<1%" if 0 < share < 1 else f"{share:.0f}%"


def used_tokens(window: Window) -> int:
    return sum(asdict(window.used).values())


def clipped(text: str, width: int) -> str:
    """The text on one line of at most `width` characters, `…` where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(width - 1, 0)].rstrip() + "…"


def at_home(path: str) -> str:
    """A path as people write it: `~/Documents/lease.pdf`."""
    home = os.environ.get("HOME", "").rstrip("/")
    return "~" + path.removeprefix(home) if home and path.startswith(f"{home}/") else path


def citation_place(citation: Citation) -> str:
    return beside_title(citation.title, citation.page, citation.line, citation.locator)


def listed_place(citation: Citation) -> str:
    """`citation_place`, and what became of the file since it was read."""
    where = citation_place(citation)
    return where if citation.on_disk is None else f"{where} ({ON_DISK[citation.on_disk]})"


def model_line(model: ModelRow) -> str:
    """`Loci embedded · 9.8M parameters, 3.1M active · torch`, as far as they are known."""
    total, active = model.total_parameters, model.active_parameters
    size = [f"{short(total)} parameters" + (f", {short(active)} active" if active else "")] if total else []
    return " · ".join([model.name, *size, model.engine])


def model_note(model: ModelRow) -> str:
    """What a reader of its answers must know of the model; empty for one that writes freely."""
    return "" if model.writes_prose else "small model: it answers only in your documents' words"


def held_words(main: int | None, gpu: int) -> str:
    """`1.2 GB RAM`, `1.2 GB RAM, 14.0 GB GPU`, or nothing where nobody knows."""
    parts = [f"{size(main)} RAM"] if main else []
    return ", ".join([*parts, f"{size(gpu)} GPU"] if gpu else parts)


def added_line(added: AddedRow) -> str:
    """`3 added, 1 updated, 2 skipped (46 passages)`."""
    done = ", ".join(f"{number} {name}" for name, number in added.counts.items() if number)
    return (
        f"{done or 'Nothing to read there'} ({count(added.chunks, 'passage')})" if added.chunks else done or "no files"
    )


def marked(text: str, citations: tuple[Citation, ...], unsupported: tuple[tuple[int, int], ...]) -> str:
    """The answer as Markdown whose citation marks are links (`cite:N`), with a sign after each unsupported span."""
    edits = [(c.answer_start, c.answer_end, f"[{_mark(text, c)}](cite:{c.n})") for c in citations]
    edits += [(end, end, " *(no source)*") for _, end in unsupported]
    for start, end, replacement in sorted(edits, reverse=True):
        if 0 <= start <= end <= len(text):
            text = text[:start] + replacement + text[end:]
    return text


def _mark(text: str, citation: Citation) -> str:
    mark = text[citation.answer_start : citation.answer_end].strip()
    return mark if mark.startswith("[") and mark.endswith("]") else f"[{citation.n}]"
