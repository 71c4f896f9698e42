"""Secrets and numbers that identify a person, found in what a user typed, so that they are never stored.

By form and check digit, without a model. A number counts only if its own checksum holds or its form cannot be anything
else: telephone numbers, addresses, dates and order numbers are things that people want remembered.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from memory import check_digits
from memory.folding import folded

Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Secret:
    """What stands at `text[start:end]`."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Redacted:
    text: str
    """With `[KIND removed]` in place of each secret."""
    secrets: tuple[str, ...]
    """The secrets themselves. They must not be stored."""
    kinds: tuple[str, ...]
    """Of each secret."""

    def summary(self) -> str:
        """`1 card number, 2 API keys`; empty if nothing was found."""
        return ", ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in Counter(self.kinds).items())


def redact(text: str) -> Redacted:
    """`text` without its secrets, and what they were."""
    found = secrets(text)
    parts, position = [], 0
    for one in found:
        parts += [text[position : one.start], f"[{one.kind} removed]"]
        position = one.end
    return Redacted(
        "".join([*parts, text[position:]]),
        tuple(text[one.start : one.end] for one in found),
        tuple(one.kind for one in found),
    )


def is_hollow(text: str) -> bool:
    """Whether `text`, without its secrets, tells nothing but that there were some, as "My PIN is [PIN removed]"."""
    left, removed = _PLACEHOLDER.subn(" ", text)
    return removed > 0 and all(_TELLS_NOTHING.fullmatch(word) for word in re.findall(r"[^\W_]+", left.casefold()))


def secrets(text: str) -> list[Secret]:
    """The secrets in a text as it reads (`memory.folding`), in order, none within another."""
    read = folded(text)
    found: list[Secret] = []
    for kind, pattern, check in _RULES:
        for match in pattern.finditer(read.text):
            start, end = read.span(*match.span("secret"))
            taken = any(start < one.end and one.start < end for one in found)
            if not taken and (check is None or check(match["secret"])):
                found.append(Secret(kind, start, end))
    return sorted(found, key=lambda one: one.start)


@dataclass(frozen=True, slots=True)
class Exactly:
    """Texts looked for as they read, as something `memory.blotting.Blotter` takes out; a number not within another."""

    texts: Sequence[str]

    @property
    def terms(self) -> frozenset[str]:
        return frozenset()

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        read = folded(text)
        for one in map(folded, self.texts):
            pattern = re.escape(one.text)
            if one.text.isdigit():
                pattern = rf"(?<!\d){pattern}(?!\d)"
            yield from (read.span(*match.span()) for match in re.finditer(pattern, read.text))


def _mixed(text: str) -> bool:
    """Letters and digits both, as keys have and words have not."""
    return bool(re.search(r"[A-Za-z]", text) and re.search(r"\d", text))


def _guarded(text: str) -> bool:
    """What a password is like: six characters or more, and no word."""
    return len(text) >= 6 and not re.fullmatch(r"[a-z]+|[A-Z][a-z]+", text)


_KEY = r"(?:api|access|secret|private|auth|client|license)[ _-]?(?:key|token|secret)|token|secret|bearer"
_OF = r"(?:\s+(?i:for|of|to|on|für|der|des|de|du|pour|para)\s+[\w.'-]+(?:\s+[\w.'-]+){0,3}?)?"
_SAYS = r"""(?:\s*[=:]\s*|['’]s\s+|(?:\s+(?i:is|are|was|now|still|will|be|has|been|(?:changed|set|reset)\s+to|ist|lautet
    |jetzt|es|est|(?:changed\s+)?from(?=\s+\d+\s+to\s)))+\b[\s:]+)[\"'“‘«„]?"""
"""What stands between the name of a number and the number, which is followed by no unit and not a part of another."""
_ALONE = r"(?!\w|[.,/:-]\d|\s?(?:[%°€£$]|(?i:mm|cm|m|km|kg|g|ml|bits?|times|people|years?|euros?|dollars?)\b))"
_DIGITS = r"(?:\d{4,8}|\d\d[ -]\d\d|\d(?:[ -]\d){3,7})"
_PIN = r"""\b(?:PIN(?!\s+code)|(?i:pass\ ?code|(?:my|our|your|his|her|their|mein\w*)\ pin(?:[ -]?(?:number|code))?
    |(?:card|bank|account|sim|phone|atm)(?:['’]s)?[ -]pin
    |pin[ -]?(?:number|nummer)|pin[ -]?code(?!(?:\W+\w+){0,6}?\W+\d{6}\b)|geheimzahl))\b"""
"""Where nobody is said to have it, a pin code of six digits is a postal code of India."""
_CVV = r"\b(?i:cv[vc]2?|cvn|card\ (?:verification|security)\ (?:code|value|number)|kartenprüfnummer)\b"
_SSN = r"(?!000|666|9)\d{3}[ .-]?(?!00)\d{2}[ .-]?(?!0000)\d{4}"
_MINE = r"\s+(?i:is|was|ist)\s+(?:(?i:my|our|your|his|her|their|the|mein\w*|die)\s+)(?:[\w'’-]+\s+){0,2}?"
_RULES: tuple[tuple[str, re.Pattern[str], Check | None], ...] = tuple(
    (kind, re.compile(pattern, re.VERBOSE), check)
    for kind, pattern, check in (
        (
            "private key",
            r"(?P<secret>-----BEGIN\ [A-Z\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----(?s:.*?)(?:-----END[^-]*-----|\Z))",
            None,
        ),
        (
            "API key",
            r"""(?<![\w-])(?P<secret>
              sk-[A-Za-z0-9_-]{20,} | (?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,} | gh[pousr]_[A-Za-z0-9]{30,}
            | github_pat_\w{30,} | glpat-[\w-]{20,} | (?:AKIA|ASIA)[0-9A-Z]{16} | AIza[\w-]{35} | ya29\.[\w-]{20,}
            | xox[abeprs]-[\w-]{10,} | hf_[A-Za-z0-9]{30,} | npm_[A-Za-z0-9]{36} | pypi-[\w-]{40,}
            | SG\.[\w-]{16,}\.[\w-]{16,} | dop_v1_[0-9a-f]{64} | AGE-SECRET-KEY-1[0-9A-Z]{50,}
            )""",
            None,
        ),
        ("access token", r"(?<![\w-])(?P<secret>eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})", None),
        ("password", r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s/:@]+:(?P<secret>[^\s/@]+)@", None),
        (
            "API key",
            rf"(?i:{_KEY})\b[\"']?\s*(?:is|=|:|\s)\s*[\"']?(?P<secret>[A-Za-z0-9+/_=.-]{{16,}})",
            _mixed,
        ),
        ("PIN", rf"(?:{_PIN}(?:{_OF}{_SAYS}|\s+(?:to\s+)?)|\b(?i:pin){_OF}{_SAYS})(?P<secret>{_DIGITS}){_ALONE}", None),
        ("PIN", rf"(?:{_PIN}|\b(?i:pin)\b).{{0,40}}\bfrom\s+\d{{4,8}}\s+to\s+(?P<secret>{_DIGITS}){_ALONE}", None),
        ("PIN", rf"(?<![\w.,/:-])(?P<secret>{_DIGITS}){_MINE}(?:{_PIN}|(?i:pin)\b)", None),
        (
            "security code",
            rf"(?:{_CVV}(?:{_OF}{_SAYS}|\s+)|\b(?i:security\ code){_OF}{_SAYS})(?P<secret>\d{{3,8}}){_ALONE}",
            None,
        ),
        ("security code", rf"(?<![\w.,/:-])(?P<secret>\d{{3,4}}){_MINE}{_CVV}", None),
        (
            "password",
            r"""(?i:pass(?:word|phrase|code|wort)|passwd|pwd|contraseña|mot\ de\ passe|kennwort)
            (?:\s+(?i:for|of|to|on)\s+[\w.'-]+(?:\s+[\w.'-]+){0,2}?)?\s*(?:=|:|\b(?i:is|are|ist|lautet|es|est)\b:?)\s*
            [\"'“‘«„]?(?P<secret>[^\s\"'”’»“]*[^\s\"'”’»“.,;!?)])""",
            _guarded,
        ),
        (
            "IBAN",
            rf"(?i:(?<![A-Z0-9])(?P<secret>{check_digits.IBAN})(?![A-Z0-9]))",
            check_digits.iban,
        ),
        # Where it is named, it may be cut up in any way.
        (
            "IBAN",
            rf"(?i:\biban\b\D{{0,12}}?\b(?P<secret>{check_digits.SPACED_IBAN})(?![A-Z0-9]))",
            check_digits.iban,
        ),
        (
            "card number",
            r"(?<![\w.-])(?P<secret>(?:2[2-7]|3[0-9]|4\d|5\d|6\d)\d{2}(?:[ -]?\d){9,15})(?![\w-])",
            check_digits.luhn,
        ),
        (
            "social security number",
            r"(?<![\w-])(?P<secret>(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4})(?![\w-])",
            None,
        ),
        # Without hyphens it may be anybody's telephone number, but for its name.
        (
            "social security number",
            rf"\b(?i:ssn|social\ security|soc\.?\ ?sec|my\ social)\b\D{{0,30}}(?P<secret>{_SSN})(?![\w-])",
            None,
        ),
        ("social security number", rf"(?<![\w.-])(?P<secret>{_SSN}){_MINE}(?i:ssn|social)\b", None),
        (
            "national identity number",
            r"""(?<!\w)(?P<secret>(?i:(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D])
            |(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\ ?\d{2}\ ?\d{2}\ ?\d{2}\ ?[A-D])(?!\w)""",
            None,
        ),
        (
            "national identity number",
            r"""(?<!\w)(?P<secret>(?i:(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z])|(?:\d{8}|[XYZ]\d{7})\ [A-HJ-NP-TV-Z])
            (?!\w)""",
            check_digits.dni,
        ),
        (
            "national identity number",
            r"(?<!\w)(?P<secret>[12]\s?\d{2}\s?(?:0[1-9]|1[0-2])\s?(?:\d{2}|2[AB])\s?\d{3}\s?\d{3}\s?\d{2})(?!\w)",
            check_digits.nir,
        ),
        (
            "national identity number",
            r"(?<!\w)(?i:(?P<secret>[A-Z]{6}\d{2}[A-EHLMPRST](?:[04][1-9]|[1256]\d|[37][01])[A-Z]\d{3}[A-Z]))(?!\w)",
            None,
        ),
        (
            "national identity number",
            r"(?<![\w+.-])(?P<secret>[2-9]\d{3}[ ]\d{4}[ ]\d{4})(?![\w-])",
            check_digits.aadhaar,
        ),
        (
            "tax number",
            r"(?i:steuer-?\s?id\w*|identifikationsnummer|tax\s+id\w*)\D{0,12}(?P<secret>\d{2}\s?\d{3}\s?\d{3}\s?\d{3})(?!\w)",
            check_digits.steuer_id,
        ),
    )
)
"""Kind, form and check; an earlier rule wins where two find the same characters."""
_PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(sorted({kind for kind, _, _ in _RULES}))}) removed\]")
_TELLS_NOTHING = re.compile(
    r"""pins?|passcode|passwords?|passphrase|passwd|pwd|codes?|numbers?|keys?|token|secret|api|access|auth|bearer|client
    |private|license|iban|cards?|credit|debit|bank|account|cv[vc]|cvn|verification|security|social|ssn|sec|soc|national
    |identity|insurance|nino|dni|nie|aadhaar|tax|id|geheimzahl|passwort|kennwort|nummer|karte|konto|steuer|contraseña
    |clave|mot|passe|my|our|your|the|this|that|an?|i|we|is|are|was|its?|s|new|old|current|now|still|please|remember|note
    |and|of|to|meine?m?|die|das|der|ist|lautet|jetzt|und|mis?|es|la|el|y|mon|ma|mes|est|de|le|et""",
    re.VERBOSE,
)
"""Names of secrets, and the words between."""
