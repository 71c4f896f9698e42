"""Questions about invented records: tables and plain sentences of made-up names, prices, times and numbers.

No real text has as many cells as people's own tables do, and what is invented cannot be known by heart: only reading
the passage answers. Everything is drawn from the generator that is passed in.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

_DATA = tomllib.loads((Path(__file__).parent / "invented.toml").read_text(encoding="utf-8"))
_WORDS: dict[str, list[str]] = _DATA["words"]
_COMMON = ("What is the {h} of {k}?", "{k} {h}")


@dataclass(frozen=True, slots=True)
class Field:
    """A column: its header, the kind of its values, and how it is asked for and told about the record `{k}`."""

    header: str
    kind: str
    questions: tuple[str, ...]
    sentences: tuple[str, ...]


FIELDS = tuple(
    Field(one["header"], one["kind"], (*_COMMON, *one["questions"]), tuple(one["sentences"])) for one in _DATA["field"]
)


def word(random: Random) -> str:
    """An invented word of two or three syllables."""
    syllables = range(random.choice((2, 2, 3)))
    return "".join(
        random.choice(_WORDS["onsets"]) + random.choice(_WORDS["vowels"]) + random.choice(_WORDS["codas"])
        for _ in syllables
    )


def name(random: Random) -> str:
    """An invented proper name."""
    return word(random).capitalize()


def person(random: Random) -> str:
    return (
        f"{random.choice(_WORDS['first'])} {name(random)}" if random.random() < 0.8 else random.choice(_WORDS["first"])
    )


def date(random: Random) -> str:
    day, month, year = random.randint(1, 28), random.randint(1, 12), random.randint(1950, 2035)
    return random.choice(
        (
            f"{day} {_WORDS['months'][month - 1]} {year}",
            f"{_WORDS['months'][month - 1]} {day}, {year}",
            f"{year}-{month:02}-{day:02}",
            f"{day} {_WORDS['months'][month - 1]}",
            random.choice(_WORDS["days"]),
            f"{random.choice(_WORDS['days'])} {day} {_WORDS['months'][month - 1]}",
        )
    )


def value(kind: str, random: Random) -> str:
    """A value of one of the kinds that `FIELDS` names."""
    number = random.choice((random.randint(2, 30), random.randint(10, 999), random.randint(1000, 90000)))
    hour, minute = random.randint(0, 23), random.choice((0, 0, 15, 30, 45, random.randint(0, 59)))
    if kind == "money":
        amount = f"{number}.{random.randint(0, 99):02}" if random.random() < 0.4 else f"{number:,}"
        return random.choice((f"${amount}", f"€{amount}", f"£{amount}", f"{amount} EUR", f"{amount} euros", amount))
    if kind == "time":
        half = "am" if hour < 12 else "pm"
        return random.choice((f"{hour:02}:{minute:02}", f"{hour}:{minute:02}", f"{hour % 12 or 12}:{minute:02} {half}"))
    if kind == "phone":
        return f"{random.choice(('0', '+49 ', '555-'))}{random.randint(100, 999)} {random.randint(1000, 99999)}"
    if kind == "email":
        return f"{word(random)}@{word(random)}.{random.choice(('org', 'com', 'net', 'example'))}"
    if kind == "code":
        letters = "".join(random.choice("ABCDEFGHKLMNPRSTUVWXZ") for _ in range(random.randint(1, 3)))
        return f"{letters}{random.choice(('', '-'))}{random.randint(1, 9999)}"
    if kind == "measure":
        return f"{random.choice((str(number), f'{number / 10:.1f}'))} {random.choice(_WORDS['units'][:5])}"
    if kind == "span":
        return f"{random.randint(2, 60)} {random.choice(('minutes', 'hours', 'days', 'weeks', 'months', 'years'))}"
    if kind == "place":
        street, thing = (
            f"{name(random)} Street {random.randint(1, 90)}",
            f"the {word(random)} {random.choice(_WORDS['things'])}",
        )
        return random.choice((name(random), street, thing))
    if kind == "number":
        return f"{number:,}" if random.random() < 0.5 else str(number)
    if kind == "year":
        return str(random.randint(1500, 2030))
    if kind in ("date", "person"):
        return date(random) if kind == "date" else person(random)
    return random.choice(_WORDS[{"colour": "colours", "status": "statuses", "material": "materials"}[kind]])


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one table: `cells[r][f]` is the value of `columns[f]` for the record named `keys[r]`."""

    key_header: str
    keys: list[str]
    columns: list[Field]
    cells: list[list[str]]


def records(random: Random) -> Records:
    """A table of 2 to 8 records and 1 to 6 columns, all of it invented."""
    thing = random.choice(_WORDS["things"])
    count = random.randint(2, 8)
    styles: list[Callable[[], str]] = [
        lambda: f"{name(random)} {thing}",
        lambda: f"the {word(random)} {thing}",
        lambda: name(random),
        lambda: f"{thing} {random.randint(1, 99)}",
        lambda: f"the {random.choice(_WORDS['colours'])} {thing}",
        lambda: person(random),
        lambda: f"{random.choice(_WORDS['things'])} {value('code', random)}",
    ]
    style = random.choice(styles)
    keys = list(dict.fromkeys(style() for _ in range(count)))
    columns = random.sample(FIELDS, random.randint(1, 6))
    cells = [[value(column.kind, random) for column in columns] for _ in keys]
    header = random.choice((thing, "name", "title", "item", "id"))
    return Records(header, keys, columns, cells)


def _capital(text: str, random: Random) -> str:
    return text[:1].upper() + text[1:] if random.random() < 0.7 else text


def as_rows(table: Records, random: Random) -> list[str]:
    """Each record as one line, in one of the styles that readers of spreadsheets produce."""
    headers = [_capital(one, random) for one in (table.key_header, *(column.header for column in table.columns))]
    if random.random() < 0.15:
        headers = [word(random).capitalize() if random.random() < 0.3 else header for header in headers]
    between = random.choice(("; ", "; ", "; ", ", ", " | "))
    return [
        between.join(f"{header}: {cell}" for header, cell in zip(headers, (key, *cells), strict=True))
        for key, cells in zip(table.keys, table.cells, strict=True)
    ]


def as_sentences(table: Records, random: Random) -> list[str]:
    """Each record as sentences, at times run together with "and"."""
    lines = []
    for key, cells in zip(table.keys, table.cells, strict=True):
        said = [
            random.choice(column.sentences).format(h=column.header, k=key, v=cell)
            for column, cell in zip(table.columns, cells, strict=True)
        ]
        random.shuffle(said)
        lines.append(" ".join(one[:1].upper() + one[1:] for one in said))
    return lines


def ask(table: Records, row: int, column: int, random: Random) -> tuple[str, str]:
    """A question about one cell and its answer; now and then the reverse, which record has that value."""
    field, key, cell = table.columns[column], table.keys[row], table.cells[row][column]
    same = [cells[column] for cells in table.cells].count(cell)
    if same == 1 and random.random() < 0.12:
        form = random.choice(("Which {t} has the {h} {v}?", "What has the {h} {v}?", "Which one has {v} as its {h}?"))
        return form.format(t=table.key_header, h=field.header, v=cell), key
    return random.choice(field.questions).format(h=field.header, k=key), cell
