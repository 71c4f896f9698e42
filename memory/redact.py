"""Secrets and numbers that identify a person, found in what a user typed, so that they are never stored.

By form and check digit, without a model. A number counts only if its own checksum holds or its form cannot be anything
else: telephone numbers, addresses, dates and order numbers are things that people want remembered.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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


def secrets(text: str) -> list[Secret]:
    """The secrets in a text, in order, none within another."""
    found: list[Secret] = []
    for kind, pattern, check in _RULES:
        for match in pattern.finditer(text):
            start, end = match.span("secret")
            taken = any(start < one.end and one.start < end for one in found)
            if not taken and (check is None or check(match["secret"])):
                found.append(Secret(kind, start, end))
    return sorted(found, key=lambda one: one.start)


@dataclass(frozen=True, slots=True)
class Exactly:
    """Texts looked for as they stand, as something `memory.blotting.Blotter` takes out."""

    texts: Sequence[str]

    @property
    def terms(self) -> frozenset[str]:
        return frozenset()

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        for one in self.texts:
            yield from (match.span() for match in re.finditer(re.escape(one), text))


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character.isdigit()]


def _luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B; numbers of one repeated digit are nobody's."""
    digits = _digits(text)
    doubled = [d if n % 2 == 0 else 2 * d - 9 * (d > 4) for n, d in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and sum(doubled) % 10 == 0 and len(set(digits)) > 1


def _iban(text: str) -> bool:
    """ISO 13616: the letters as numbers, the first four characters last, modulo 97."""
    plain = re.sub(r"[\s-]", "", text).upper()
    moved = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return 15 <= len(plain) <= 34 and int(moved) % 97 == 1


def _dni(text: str) -> bool:
    """Spain's DNI and NIE: the letter is the number modulo 23."""
    plain = re.sub(r"[\s.-]", "", text).upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


def _nir(text: str) -> bool:
    """France's numéro de sécurité sociale: 97 less the number modulo 97; Corsica's 2A and 2B are 19 and 18."""
    plain = re.sub(r"\s", "", text).upper().replace("2A", "19").replace("2B", "18")
    return 97 - int(plain[:13]) % 97 == int(plain[13:])


def _steuer_id(text: str) -> bool:
    """Germany's tax number: ISO 7064, MOD 11,10."""
    digits, product = _digits(text), 10
    for digit in digits[:-1]:
        total = (digit + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == digits[-1]


def _aadhaar(text: str) -> bool:
    """India's Aadhaar: Verhoeff's check over the dihedral group of ten elements."""
    check = 0
    for place, digit in enumerate(reversed(_digits(text))):
        check = _times(check, _permuted(digit, place))
    return check == 0


def _times(a: int, b: int) -> int:
    """The product of two elements of the dihedral group: rotations 0 to 4, reflections 5 to 9."""
    if a < 5:
        return (a + b) % 5 if b < 5 else (a + b) % 5 + 5
    return (a - b) % 5 + 5 if b < 5 else (a - b) % 5


def _permuted(digit: int, times: int) -> int:
    for _ in range(times % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def _mixed(text: str) -> bool:
    """Letters and digits both, as keys have and words have not."""
    return bool(re.search(r"[A-Za-z]", text) and re.search(r"\d", text))


def _guarded(text: str) -> bool:
    """What a password is like: six characters or more, not all of one kind of lower-case letters or of digits alone."""
    return len(text) >= 6 and not re.fullmatch(r"[a-z]+|[A-Z][a-z]+|\d+", text)


_KEY = r"(?:api|access|secret|private|auth|client|license)[ _-]?(?:key|token|secret)|token|secret|bearer"
_RULES: tuple[tuple[str, re.Pattern[str], Check | None], ...] = tuple(
    (kind, re.compile(pattern, re.VERBOSE), check)
    for kind, pattern, check in (
        (
            "private key",
            r"(?P<secret>-----BEGIN\ [A-Z\ ]*PRIVATE\ KEY(?:\ BLOCK)?-----(?s:.*?)(?:-----END[^-]*-----|\Z))".replace(
                ".*?", "(?s:.*?)"
            ),
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
        ("password", r"[a-z][a-z0-9+.-]*://[^\s/:@]+:(?P<secret>[^\s/@]+)@", None),
        (
            "API key",
            rf"(?i:{_KEY})\b[\"']?\s*(?:is|=|:|\s)\s*[\"']?(?P<secret>[A-Za-z0-9+/_=.-]{{16,}})",
            _mixed,
        ),
        (
            "password",
            r"""(?i:pass(?:word|phrase|code|wort)|passwd|pwd|contraseña|mot\ de\ passe|kennwort)
            (?:\s+(?i:for|of|to|on)\s+[\w.'-]+(?:\s+[\w.'-]+){0,2}?)?\s*(?:=|:|\b(?i:is|are|ist|lautet|es|est)\b:?)\s*
            [\"'“‘«„]?(?P<secret>[^\s\"'”’»“]*[^\s\"'”’»“.,;!?)])""",
            _guarded,
        ),
        (
            "IBAN",
            r"(?<![A-Za-z0-9])(?P<secret>[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?)(?![A-Za-z0-9])",
            _iban,
        ),
        (
            "card number",
            r"(?<![\w.-])(?P<secret>(?:2[2-7]|3[0-9]|4\d|5\d|6\d)\d{2}(?:[ -]?\d){9,15})(?![\w-])",
            _luhn,
        ),
        (
            "social security number",
            r"(?<![\w-])(?P<secret>(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4})(?![\w-])",
            None,
        ),
        (
            "national identity number",
            r"""(?<!\w)(?P<secret>(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]
            \ ?\d{2}\ ?\d{2}\ ?\d{2}\ ?[A-D])(?!\w)""",
            None,
        ),
        ("national identity number", r"(?<![\w])(?P<secret>(?:\d{8}|[XYZ]\d{7})[ -]?[A-HJ-NP-TV-Z])(?!\w)", _dni),
        (
            "national identity number",
            r"(?<!\w)(?P<secret>[12]\s?\d{2}\s?(?:0[1-9]|1[0-2])\s?(?:\d{2}|2[AB])\s?\d{3}\s?\d{3}\s?\d{2})(?!\w)",
            _nir,
        ),
        (
            "national identity number",
            r"(?<!\w)(?P<secret>[A-Z]{6}\d{2}[A-EHLMPRST](?:[04][1-9]|[1256]\d|[37][01])[A-Z]\d{3}[A-Z])(?!\w)",
            None,
        ),
        ("national identity number", r"(?<![\w+.-])(?P<secret>[2-9]\d{3}[ ]\d{4}[ ]\d{4})(?![\w-])", _aadhaar),
        (
            "tax number",
            r"(?i:steuer-?\s?id\w*|identifikationsnummer|tax\s+id\w*)\D{0,12}(?P<secret>\d{2}\s?\d{3}\s?\d{3}\s?\d{3})(?!\w)",
            _steuer_id,
        ),
    )
)
"""Kind, form and check; an earlier rule wins where two find the same characters."""
