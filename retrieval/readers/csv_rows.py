"""CSV and TSV: each row with its header's names, a span for every cell."""

import csv
import io
import re
from pathlib import Path

from retrieval.errors import UnreadableDocument
from retrieval.readers.encoding import read_text
from retrieval.readers.extraction import Builder, Extraction
from retrieval.readers.tables import Row, add_grid

_MAX_FIELD = 1_000_000
_DELIMITERS = ",;\t|"


def read_csv(path: Path) -> Extraction:
    """Rows count records, as a spreadsheet shows them. Raises UnreadableDocument for a binary or broken file."""
    text = read_text(path).lstrip("\ufeff")
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else _delimiter(text)
    csv.field_size_limit(_MAX_FIELD)
    rows: list[Row] = []
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1):
            rows.append((number, cells))
    except csv.Error as error:
        raise UnreadableDocument(f"Its row {len(rows) + 1} is broken: {error}.") from error
    builder = Builder()
    add_grid(builder, rows)
    return builder.build("text/tab-separated-values" if delimiter == "\t" else "text/csv")


def _delimiter(text: str) -> str:
    """The separator that splits the first lines into the same number of fields, the most fields first."""
    lines = [line for line in text[:65536].splitlines() if line.strip()][:20]
    best, best_score = ",", 0.0
    for candidate in _DELIMITERS:
        counts = [re.sub(r'"[^"]*"', "", line).count(candidate) for line in lines]
        if not counts or not max(counts):
            continue
        usual = max(set(counts), key=counts.count)
        score = counts.count(usual) / len(counts) + min(usual, 50) / 1000 if usual else 0.0
        if score > best_score:
            best, best_score = candidate, score
    return best
