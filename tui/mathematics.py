"""Formulas in an answer as a terminal can show them: LaTeX in Unicode, on a line.

What is not known here, and what would read worse than it is written, stays LaTeX, as code.
"""

import re
from collections.abc import Callable
from unicodedata import normalize

from tui import mathematics_signs as signs

_CODE = r"(?P<code>^(?P<fence>`{3,}|~{3,}).*?(?:^(?P=fence)|\Z)|(?P<tick>`+)[^`].*?(?<!`)(?P=tick)(?!`))"
_DISPLAY = r"\$\$(?P<dollars>.+?)\$\$|\\\[(?P<bracket>.+?)\\\]"
_INLINE = r"\\\((?P<paren>.+?)\\\)|(?<![\\$\w])\$(?P<dollar>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\d$])"
_FORMULA = re.compile(f"{_CODE}|{_DISPLAY}|{_INLINE}", re.MULTILINE | re.DOTALL)
_TOKEN = re.compile(r"\\([A-Za-z]+\*?|.)\s*|([{}^_&'~])|(\s+)|(.)", re.DOTALL)
_LOOKS_LIKE_ONE = re.compile(r"[\\^_={}<>+|]|^[A-Za-z](\W.*)?$", re.DOTALL)
"""Between single dollars: `$x$` is a formula, `$5 or so$` is not."""
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#|~])")
_RELATIONS = frozenset("=<>")
_GROUPED = frozenset({"text", "mathrm", "mathbf", "mathit", "mathsf", "operatorname", "textbf", "boldsymbol", "mbox"})
_ROWS = re.compile(r"\\\\(?:\[[^\]]*\])?")


class _Unknown(Exception):
    """Not a form that is known here."""


def readable(text: str, *, markdown: bool = True) -> str:
    """The text with its formulas in Unicode; `markdown`: so that Markdown shows them as they are."""

    def shown(match: re.Match[str]) -> str:
        if match["code"] is not None:
            return match[0]
        display = match["dollars"] or match["bracket"]
        source = display or match["paren"] or match["dollar"]
        if match["dollar"] is not None and not _LOOKS_LIKE_ONE.search(source):
            return match[0]
        try:
            formula = unicode_of(source)
        except (_Unknown, RecursionError):
            return f"`{match[0]}`" if markdown and "\n" not in match[0] else match[0]
        if "\n" in formula:
            return f"\n```\n{formula}\n```\n" if markdown else f"\n{formula}\n"
        formula = _MARKDOWN.sub(r"\\\1", formula) if markdown else formula
        return f"\n\n{formula}\n\n" if display else formula

    return _FORMULA.sub(shown, text)


def unicode_of(latex: str) -> str:
    """One formula without its marks, in Unicode.

    :raises _Unknown: it has a form that is not known here.
    """
    if environment := re.fullmatch(r"\s*\\begin{(\w+)\*?}(?:{[^}]*})?(.*)\\end{\1\*?}\s*", latex, re.DOTALL):
        return _environment(environment[1], environment[2])
    if _ROWS.search(latex):
        return "\n".join(unicode_of(row) for row in _ROWS.split(latex) if row.strip())
    reader = _Reader(latex)
    formula = reader.until(None)
    return re.sub(r" {2,}(?=\S)", lambda match: match[0] if len(match[0]) > 3 else " ", formula).strip()


def _environment(name: str, body: str) -> str:
    """Rows of an environment, one a line, their columns aligned where it is a table."""
    rows = [[unicode_of(cell) for cell in row.split("&")] for row in _ROWS.split(body) if row.strip()]
    if name in ("aligned", "align", "split", "gather", "gathered", "equation"):
        return "\n".join(" ".join(cell for cell in row if cell) for row in rows)
    marks = {"matrix": "  ", "pmatrix": "()", "bmatrix": "[]", "vmatrix": "||", "cases": "{ ", "array": "  "}.get(name)
    if marks is None:
        raise _Unknown
    widths = [max(len(row[at]) if at < len(row) else 0 for row in rows) for at in range(max(map(len, rows)))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in rows]
    return "\n".join(f"{marks[0]} {line} {marks[1]}".rstrip() for line in lines)


class _Reader:
    """Reads one formula from left to right."""

    def __init__(self, latex: str) -> None:
        self._tokens = list(_TOKEN.finditer(latex))
        self._at = 0

    def until(self, end: str | None) -> str:
        """All up to the sign `end`, which is read too, or to the end of the formula."""
        parts: list[str] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token[0] == end:
                self._at += 1
                return "".join(parts)
            parts.append(self._next())
        if end is not None:
            raise _Unknown
        return "".join(parts)

    def _next(self) -> str:
        token = self._tokens[self._at]
        self._at += 1
        if token[1] is not None:
            return self._command(token[1].rstrip("*"))
        match token[2] or token[3] or token[4]:
            case "{":
                return self.until("}")
            case "^":
                return _shifted(self._argument(), signs.RAISED, "^")
            case "_":
                return _shifted(self._argument(), signs.LOWERED, "_")
            case "'":
                return "′"
            case "~":
                return " "
            case "&":
                return ""
            case "}":
                raise _Unknown
            case "-":
                return "−"
            case sign if sign in _RELATIONS:
                return f" {sign} "
            case space if space.isspace():
                return " "
            case other:
                return other

    def _argument(self) -> str:
        """The group or the one sign that follows."""
        while self._at < len(self._tokens) and self._tokens[self._at][3]:
            self._at += 1
        if self._at == len(self._tokens):
            raise _Unknown
        return self._next()

    def _command(self, name: str) -> str:
        if name in signs.LETTERS:
            return signs.LETTERS[name]
        if name in signs.OPERATORS:
            return f" {signs.OPERATORS[name]} "
        if name in signs.FUNCTIONS:
            return self._function(name)
        if name in signs.SPACES or name in signs.ESCAPED:
            return {**signs.SPACES, **signs.ESCAPED}[name]
        if name in _GROUPED:
            return self._words() if name in ("text", "mbox", "textbf") else self._argument()
        if name in signs.ACCENTS:
            accent = signs.ACCENTS[name]
            return normalize("NFC", "".join(character + accent for character in self._argument()))
        known = _FORMS.get(name)
        if known is None:
            raise _Unknown
        return known(self)

    def _function(self, name: str) -> str:
        following = self._tokens[self._at][0] if self._at < len(self._tokens) else ""
        return name if following[:1] in ("(", "^", "_", "{", "") else f"{name} "

    def _words(self) -> str:
        """A group in which spaces count."""
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "{":
            end = next((n for n in range(self._at, len(self._tokens)) if self._tokens[n][0] == "}"), None)
            if end is not None:
                words = "".join(token[0] for token in self._tokens[self._at + 1 : end])
                self._at = end + 1
                return words
        raise _Unknown

    def fraction(self) -> str:
        return f"{_one(self._argument())}/{_one(self._argument())}"

    def root(self) -> str:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "[":
            self._at += 1
            degree = self.until("]")
            sign = {"2": "√", "3": "∛", "4": "∜"}.get(degree) or _shifted(degree, signs.RAISED, "") + "√"
            return sign + _one(self._argument())
        return "√" + _one(self._argument())

    def binomial(self) -> str:
        return f"C({self._argument()}, {self._argument()})"

    def delimiter(self) -> str:
        """What `\\left` and `\\right` stand before; a dot is none."""
        return self._argument().strip().removeprefix(".")

    def double(self) -> str:
        return "".join(signs.DOUBLE.get(character, character) for character in self._argument())

    def script(self) -> str:
        return "".join(signs.SCRIPT.get(character, character) for character in self._argument())


_FORMS: dict[str, Callable[[_Reader], str]] = {
    **dict.fromkeys(("frac", "dfrac", "tfrac"), _Reader.fraction),
    **dict.fromkeys(("left", "right", "big", "Big", "bigl", "bigr", "Bigl", "Bigr"), _Reader.delimiter),
    **dict.fromkeys(("mathcal", "mathscr"), _Reader.script),
    "binom": _Reader.binomial,
    "mathbb": _Reader.double,
    "sqrt": _Reader.root,
}


def _one(part: str) -> str:
    """In parentheses, unless it is one thing."""
    part = part.strip()
    simple = re.fullmatch(r"[\w.,′⁰-⁹₀-₉ⁿᵢⱼ̂̄]+|[^\w\s]?\w", part)
    return part if simple else f"({part})"


def _shifted(part: str, to: dict[str, str], mark: str) -> str:
    """Raised or lowered where Unicode has all of it; else behind `^` or `_`."""
    part = part.strip()
    packed = part.replace(" ", "")
    if packed and all(character in to for character in packed):
        return "".join(to[character] for character in packed)
    return f"{mark}{part}" if len(part) == 1 else f"{mark}({part})"
