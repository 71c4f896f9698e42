"""Check digits of numbers that identify a person: each a pure function of the number as it was written."""

import re

_LENGTHS = {
    15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK", 21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
    29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
}  # fmt: skip
"""Characters of an IBAN, and the countries (SWIFT's IBAN registry)."""

IBAN, SPACED_IBAN = (
    "|".join(
        rf"(?:{countries.replace(' ', '|')}){gap}\d{gap}\d(?:[ -]?[A-Z0-9]){{{length - 4}}}"
        for length, countries in _LENGTHS.items()
    )
    for gap in ("", "[ -]?")
)
"""Form of an IBAN, for a pattern that ignores case. It ends where the country says, so that no word after it counts.
Spaced: with its check digits apart from the country, as ordinary words are from numbers ("at 12 noon")."""


def luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B; numbers of one repeated digit are nobody's."""
    digits = _digits(text)
    doubled = [d if n % 2 == 0 else 2 * d - 9 * (d > 4) for n, d in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and sum(doubled) % 10 == 0 and len(set(digits)) > 1


def iban(text: str) -> bool:
    """ISO 13616: the letters as numbers, the first four characters last, modulo 97."""
    plain = re.sub(r"[\s-]", "", text).upper()
    moved = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return int(moved) % 97 == 1


def dni(text: str) -> bool:
    """Spain's DNI and NIE: the letter is the number modulo 23."""
    plain = re.sub(r"[\s.-]", "", text).upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


def nir(text: str) -> bool:
    """France's numéro de sécurité sociale: 97 less the number modulo 97; Corsica's 2A and 2B are 19 and 18."""
    plain = re.sub(r"\s", "", text).upper().replace("2A", "19").replace("2B", "18")
    return 97 - int(plain[:13]) % 97 == int(plain[13:])


def steuer_id(text: str) -> bool:
    """Germany's tax number: ISO 7064, MOD 11,10."""
    digits, product = _digits(text), 10
    for digit in digits[:-1]:
        total = (digit + product) % 10 or 10
        product = 2 * total % 11
    return (11 - product) % 10 == digits[-1]


def aadhaar(text: str) -> bool:
    """India's Aadhaar: Verhoeff's check over the dihedral group of ten elements."""
    check = 0
    for place, digit in enumerate(reversed(_digits(text))):
        check = _times(check, _permuted(digit, place))
    return check == 0


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character.isdigit()]


def _times(a: int, b: int) -> int:
    """The product of two elements of the dihedral group: rotations 0 to 4, reflections 5 to 9."""
    if a < 5:
        return (a + b) % 5 if b < 5 else (a + b) % 5 + 5
    return (a - b) % 5 + 5 if b < 5 else (a - b) % 5


def _permuted(digit: int, times: int) -> int:
    for _ in range(times % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit
