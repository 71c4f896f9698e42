"""How the plain chat says things: whole lines of words, without signs or columns, as a screen reader reads them."""

from collections.abc import Iterator

from app.answer import Citation
from tui.keymap import Action
from tui.mathematics import readable
from tui.rows import AnswerRow, DocumentRow, MemoryRow, SessionRow, SourceRow
from tui.words import PARTS, STATUS_MEANS, STATUS_WORDS, clipped, count, listed_place, percent, used_tokens

QUOTED = 200
"""Characters of a quote under an answer; /source tells all of it."""


def status(citation: Citation | SourceRow) -> str:
    """`verified`, without the sign before it."""
    return STATUS_WORDS[citation.status].partition(" ")[2]


def answer_lines(answer: AnswerRow) -> list[str]:
    """The answer, then each source on its line."""
    lines = [readable(answer.text, markdown=False)]
    cited = {citation.n: citation for citation in reversed(answer.citations)}
    for n in sorted(cited):
        one = cited[n]
        quote = f": “{clipped(one.quote, QUOTED)}”" if one.quote else ""
        lines.append(f"Source {n}, {status(one)}: {one.title or one.path}, {listed_place(one)}{quote}")
    return lines


def remark_lines(answer: AnswerRow, remembered: tuple[tuple[int, str], ...]) -> Iterator[str]:
    """What the reader must know about the answer."""
    if answer.abstained:
        yield f"No answer. {answer.reason or 'Nothing in scope supports one.'}"
    elif not answer.grounded and answer.reason:
        yield f"Not grounded. {answer.reason}"
    for start, end in answer.unsupported:
        yield f"Without a source: “{clipped(answer.text[start:end], 80)}”"
    for memory in answer.memories:
        if memory.cited:
            yield f"From memory {memory.id}: {memory.text}"
    if answer.window is not None:
        yield from (f"Left out: {left.what} ({left.why})" for left in answer.window.left_out)
    for id, text in remembered:
        yield f"Remembered as {id}: {clipped(text, 160)} (/forget {id} undoes it)"


def source_lines(source: SourceRow) -> list[str]:
    lines = [
        f"Source {source.n}, {status(source)}. {STATUS_MEANS[source.status]}",
        f"{source.title}, {source.where}, {source.path}",
    ]
    lines += [source.note] if source.note else []
    before, after = source.before[-300:].strip(), source.after[:300].strip()
    lines += [f"Before it: {before}"] if before else []
    lines.append(f"The quote: {source.quote}")
    return [*lines, f"After it: {after}"] if after else lines


def window_lines(answer: AnswerRow) -> list[str]:
    window = answer.window
    if window is None:
        return ["The window is not known of this answer."]
    lines = ["The window was not used for this answer."]
    if window.window:
        used = used_tokens(window)
        lines = [f"The window: {used:,} of {window.window:,} tokens, {percent(used, window.window)}."]
        lines += [f"{name}: {getattr(window.used, name):,}" for name in PARTS]
    return lines + [f"Left out: {left.what} ({left.why})" for left in window.left_out]


def memory_line(row: MemoryRow, recalled: frozenset[int]) -> str:
    facts = ["recalled for this answer"] if row.id in recalled else []
    facts += ["pinned"] if row.pinned else []
    facts += ["forgotten"] if row.state == "tombstone" else [row.state] if row.state != "active" else []
    return f"{row.id}: {row.text} ({', '.join([*facts, row.kind, row.why])})"


def session_line(row: SessionRow) -> str:
    tags = f", tagged {' '.join(row.tags)}" if row.tags else ""
    found = f", found: {clipped(row.found, 120)}" if row.found else ""
    return f"{row.id}: {row.title}, {row.when}, {count(row.turns, 'turn')}, in {row.scope}{tags}{found}"


def document_line(row: DocumentRow) -> str:
    pages = f", {count(row.pages, 'page')}" if row.pages else ""
    return f"{row.id}: {row.title}{pages}, {count(row.passages, 'passage')}{', pinned' * row.pinned}, {row.path}"


def help_lines(commands: list[Action]) -> list[str]:
    return [
        "A line is a question. A line that begins with a slash is a command:",
        *(f"{action.usage}: {action.tooltip}" for action in commands),
        "Ctrl+C stops an answer; Ctrl+D leaves.",
    ]
