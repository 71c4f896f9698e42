"""Finds training documents that share a run of thirteen words with an evaluation set, so that packing leaves them out.

    python -m model.train.decontaminate --corpus DIR --evaluation DIR --out dropped.json

Thirteen words as in Brown et al. (2020), GPT-3, appendix C. A word is a run of letters and digits without regard to
case; punctuation, mark-up and line ends do not count. Each folder of the evaluation folder is a set, in whatever text
form. Runs are compared by 64-bit hashes: 60 million and a million of them agree by chance once in 10^5 times.

B bytes, W words, R runs.
"""

import argparse
import csv
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.train.corpus import corpus_files, documents, questions, text_id

RUN = 13
_BATCH = 4_000_000
"""Characters that are hashed at once."""
_FILTER_BITS = 24
_APART = "\0"
_SIGNS = re.compile(r"[^\w\x00-\x7f]+")
_ODD = np.uint64(0x9E3779B97F4A7C15)

_IN_WORD = np.zeros(256, bool)
_IN_WORD[[ord(one) for one in "abcdefghijklmnopqrstuvwxyz0123456789"]] = True
_IN_WORD[128:] = True  # a byte of a letter: signs beyond ASCII are taken out before

Hashes = NDArray[np.uint64]


def runs(texts: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hash of every run of words in `texts` [R], and the number of the text that it stands in [R]."""
    small = unicodedata.normalize("NFC", _APART.join(text.replace(_APART, " ") for text in texts).lower())
    data = np.frombuffer(f" {_SIGNS.sub(' ', small)} ".encode(), np.uint8)  # [B]
    inside = _IN_WORD[data]
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]  # [W]
    of_text = np.searchsorted(np.flatnonzero(data == 0), starts)
    # A word's hash is its bytes as digits in an odd base, modulo 2^64: a difference of prefix sums, divided by the
    # power of the base where the word starts.
    powers = _powers(_ODD, len(data))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers)])
    inverse = _powers(np.uint64(pow(int(_ODD), -1, 1 << 64)), len(data))
    words = _mixed((sums[ends] - sums[starts]) * inverse[starts])
    count = max(len(words) - RUN + 1, 0)
    total = np.zeros(count, np.uint64)
    for place in range(RUN):
        total = _mixed(total + words[place : place + count])
    whole = of_text[:count] == of_text[RUN - 1 :] if count else np.zeros(0, bool)
    return total[whole], of_text[:count][whole]


def _powers(base: np.uint64, count: int) -> Hashes:
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors)


def _mixed(values: Hashes) -> Hashes:
    """Spread every bit over all 64 (the finisher of SplitMix64, Steele et al., 2014), so that order counts in sums."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class Known:
    """The runs of all evaluation sets."""

    names: tuple[str, ...]
    hashes: Hashes
    """sorted, each once"""
    owners: NDArray[np.uint32]
    """of each hash a bit per set"""
    quick: NDArray[np.bool_]
    """by the lowest bits of a hash, whether any known one has them"""

    def sets(self, texts: Sequence[str]) -> NDArray[np.uint32]:
        """Of each text, the bits of the sets that it shares a run with."""
        found = np.zeros(len(texts), np.uint32)
        for first, last in _batches(texts):
            hashes, of_text = runs(texts[first:last])
            maybe = np.flatnonzero(self.quick[hashes & np.uint64((1 << _FILTER_BITS) - 1)])
            place = np.minimum(np.searchsorted(self.hashes, hashes[maybe]), len(self.hashes) - 1)
            hit = self.hashes[place] == hashes[maybe]
            np.bitwise_or.at(found, first + of_text[maybe[hit]], self.owners[place[hit]])
        return found


def know(sets: dict[str, list[str]]) -> Known:
    """The runs of `sets`, each a name with its texts.

    :raises ValueError: there are none.
    """
    hashes, owners = [], []
    for number, texts in enumerate(sets.values()):
        for first, last in _batches(texts):
            found = np.unique(runs(texts[first:last])[0])
            hashes.append(found)
            owners.append(np.full(len(found), 1 << number, np.uint32))
    every, place = np.unique(np.concatenate(hashes or [np.zeros(0, np.uint64)]), return_inverse=True)
    if not len(every):
        raise ValueError(f"no evaluation set holds a run of {RUN} words")
    bits = np.zeros(len(every), np.uint32)
    np.bitwise_or.at(bits, place, np.concatenate(owners))
    quick = np.zeros(1 << _FILTER_BITS, bool)
    quick[every & np.uint64((1 << _FILTER_BITS) - 1)] = True
    return Known(tuple(sets), every, bits, quick)


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of texts that have about `_BATCH` characters together."""
    first, size = 0, 0
    for number, text in enumerate(texts):
        if size and size + len(text) > _BATCH:
            yield first, number
            first, size = number, 0
        size += len(text)
    if first < len(texts):
        yield first, len(texts)


# ---- evaluation sets ----------------------------------------------------------------------------


def evaluation_texts(folder: Path) -> list[str]:
    """Every text in the files of a set: strings of JSON and JSON lines, cells of CSV, other text files whole."""
    texts: list[str] = []
    for file in sorted(one for one in folder.rglob("*") if one.is_file()):
        text = file.read_text("utf-8-sig", errors="replace")
        if file.suffix == ".json":
            texts += _strings(json.loads(text))
        elif file.suffix == ".jsonl":
            texts += [one for line in text.split("\n") if line.strip() for one in _strings(json.loads(line))]
        elif file.suffix == ".csv":
            csv.field_size_limit(1 << 30)
            texts += [one for row in csv.reader(text.split("\n")) for cell in row for one in _cell(cell)]
        else:
            texts.append(text)
    return texts


def _cell(text: str) -> list[str]:
    """A cell may itself be JSON."""
    try:
        return list(_strings(json.loads(text)))
    except ValueError:
        return [text]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


# ---- a corpus -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """What of one kind of training text is to be left out."""

    documents: int
    characters: int
    dropped: tuple[str, ...]
    """ids of documents (see `corpus.text_id`)"""
    dropped_characters: int
    by_set: tuple[int, ...]
    """documents that share a run with each set, in the order of `Known.names`; one may count for several"""


def judge(known: Known, texts: Sequence[str]) -> Share:
    found = known.sets(texts)
    bad = [text for text, bits in zip(texts, found, strict=True) if bits]
    by_set = tuple(int(((found >> number) & 1).sum()) for number in range(len(known.names)))
    ids = tuple(text_id(one) for one in bad)
    return Share(len(texts), sum(map(len, texts)), ids, sum(map(len, bad)), by_set)


def _judge_part(file: Path, known: Known) -> Share:
    return judge(known, documents(file))


def _together(shares: Sequence[Share]) -> Share:
    return Share(
        sum(one.documents for one in shares),
        sum(one.characters for one in shares),
        tuple(id_ for one in shares for id_ in one.dropped),
        sum(one.dropped_characters for one in shares),
        tuple(map(sum, zip(*(one.by_set for one in shares), strict=True))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m model.train.decontaminate", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with NN.txt.xz, validation and questions")
    parser.add_argument("--evaluation", type=Path, required=True, help="folder with a folder per evaluation set")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="receives the list; packing reads DATA/dropped.json, beside the tokenizer",
    )
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()

    folders = sorted(one for one in given.evaluation.iterdir() if one.is_dir())
    known = know({folder.name: evaluation_texts(folder) for folder in folders})
    parts = corpus_files(given.corpus)
    with ProcessPoolExecutor(given.workers) as pool:
        text = _together(list(pool.map(partial(_judge_part, known=known), parts)))
    kinds = {"text": text, "validation": _judge_part(given.corpus / "validation.txt.xz", known)}
    if (given.corpus / "questions.jsonl.xz").exists():
        rows = list(dict.fromkeys(one["context"] for one in questions(given.corpus)))
        kinds["question contexts"] = judge(known, rows)
    for name, share in kinds.items():
        print(
            f"{name}: {len(share.dropped):,} of {share.documents:,} documents share a run of {RUN} words with an "
            f"evaluation set ({share.dropped_characters:,} of {share.characters:,} characters)"
        )
        for one, count in zip(known.names, share.by_set, strict=True):
            print(f"  {one}: {count:,}")
    counts = {name: dict(zip(known.names, share.by_set, strict=True)) for name, share in kinds.items()}
    ids = sorted({id_ for share in kinds.values() for id_ in share.dropped})
    given.out.write_text(json.dumps({"run": RUN, "counts": counts, "dropped": ids}, indent=1) + "\n", "utf-8")
    print(f"{len(ids):,} ids are in {given.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
