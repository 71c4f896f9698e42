"""Search in a library of 100,000 passages and more: time with and without words, recall, bytes, build, deletes.

    python tests/bench/growth_bench.py FOLDER --corpus DIR --rows 1000000 [--real 1000000] [--anyway] [--keep]
    python tests/bench/growth_bench.py FOLDER --corpus DIR --real 1000000 --embed 0/2     (and 1/2 beside it)

`DIR` holds `NN.txt.xz` (documents divided by U+001E) and `questions.jsonl.xz` (rows with a `question`). The first
`--real` passages have vectors of their own, which the first command makes where they are not in FOLDER: by a GPU where
PyTorch sees one (minutes), else in hours; `--embed` only embeds, a part of the files. The vectors of the others are
expanded ones, which is refused where real questions would see it (`TOLERANCE`) unless `--anyway`. Texts are real while
they last (1.4 million), then halves of two.

Vectors and library are kept in FOLDER: what was interrupted goes on. `--keep` measures the epoch that is there; without
it one is built from nothing, by a process of its own with all threads. The embedder is not timed. Milliseconds are of
the clock; `processor` is the process's own time; `anonymous_gib` is what it holds beside mapped files; the peaks are
too high in the run that fills the library. Prints JSON.
"""

import argparse
import itertools
import json
import lzma
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import documents
from retrieval.chunk_rows import ChunkRows
from retrieval.chunker import Chunk
from retrieval.documents import File
from retrieval.embedder import load_embedder
from retrieval.epoch_build import drop_epochs
from retrieval.library import Library
from retrieval.readers.extraction import Extraction
from retrieval.settings import RetrievalSettings
from retrieval.sqlite import writing
from retrieval.vectors import VectorIndex
from tests.bench.growth_vectors import Vectors, embed, embedded, expand, fitted, shards, unit

TOLERANCE = 0.025
"""Largest difference of the cosines' quantiles between real and expanded rows."""

_PER_DOCUMENT = 500
_PER_COMMIT = 10_000
"""Passages; a commit for each document takes a quarter of the time of a large library."""

_QUESTIONS = 200
_OTHERS = 6000


class Given:
    """The embedder, answering for questions that were embedded before."""

    def __init__(self, questions: list[str]) -> None:
        true = load_embedder()
        self.id, self.sha256, self.dimension, self.max_tokens = true.id, true.sha256, true.dimension, true.max_tokens
        self.vectors = dict(zip(questions, true.encode(questions), strict=True))

    def encode(self, texts: list[str]) -> Vectors:
        return np.array([self.vectors[text] for text in texts], np.float32)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def questions_of(corpus: Path) -> tuple[list[str], list[str]]:
    """Those that are asked, and others, which the expansion uses."""
    with lzma.open(corpus / "questions.jsonl.xz", "rt", encoding="utf-8") as lines:
        every = sorted({json.loads(line)["question"] for line in lines})
    asked = [every[i] for i in np.random.default_rng(0).choice(len(every), _QUESTIONS, replace=False)]
    others = sorted({*every} - {*asked})
    return asked, [others[i] for i in np.random.default_rng(1).permutation(len(others))[:_OTHERS]]


def spliced(texts: list[str], seed: int = 0) -> Iterator[str]:
    """The first half of one text and the second half of another, without end: words as frequent as in real ones, and
    no text twice."""
    rng = np.random.default_rng(seed)
    while True:
        for i, j in rng.integers(len(texts), size=(10_000, 2)).tolist():
            yield (
                texts[i][: texts[i].find(" ", len(texts[i]) // 2)] + texts[j][texts[j].find(" ", len(texts[j]) // 2) :]
            )


def fill(library: Library, texts: Iterator[str], blocks: Iterator[Vectors]) -> None:
    """Documents of `_PER_DOCUMENT` passages each, as an ingest stores them; those that are there already are left."""
    number, there = 0, len(library.documents())
    for block in blocks:
        for start in range(0, len(block), _PER_COMMIT):
            with writing(library.engine) as db:
                library.claim_embedder(db)
                for first in range(start, min(start + _PER_COMMIT, len(block)), _PER_DOCUMENT):
                    vectors = block[first : first + _PER_DOCUMENT]
                    pieces, body = [], ""
                    for text in itertools.islice(texts, len(vectors)):
                        pieces.append(Chunk(len(body), len(body) + len(text), "", text))
                        body += text + "\n\n"
                    name, number = f"/bench/{number:06}.txt", number + 1
                    if number <= there:
                        continue
                    extraction = Extraction(body, "", "text/plain", (), None, {})
                    file = File(name, len(body), 0, name)
                    documents.put(db, "main", file, name, extraction, name, pieces, vectors, ())
        print("passages", number * _PER_DOCUMENT, file=sys.stderr, flush=True)


def filled(
    library: Library, files: list[Path], arguments: argparse.Namespace, queries: Vectors, others: Vectors
) -> dict[str, Any]:
    """Fill `library` as `arguments` say, if the expansion lets that be done; facts about its rows."""
    wanted = min(arguments.rows, arguments.real)
    embed(files, arguments.folder / "real", load_embedder(), wanted)
    known, rows, names = embedded(files, arguments.folder / "real", wanted)
    facts: dict[str, Any] = {"real": len(rows)}
    share = 0.0
    if len(rows) < arguments.rows:
        share, facts["expansion"] = fitted(rows, queries, others, growth=-(-arguments.rows // len(rows)))
        if facts["expansion"]["largest"] > TOLERANCE and not arguments.anyway:
            sys.exit(f"The expanded rows do not look like real ones: {json.dumps(facts, indent=1)}")
    rest = [text for name, batch in shards(files) if name not in names for text in batch]
    texts = itertools.chain(known, rest, spliced(known + rest))
    began = time.perf_counter()
    fill(library, texts, expand(rows, arguments.rows, others, share))
    return facts | {"fill_seconds": round(time.perf_counter() - began)}


def percentiles(seconds: list[float]) -> dict[str, Any]:
    return {f"p{q}": round(float(np.percentile(seconds, q)) * 1000, 2) for q in (50, 95)}


def exact_ids(source: ChunkRows, queries: Vectors, k: int) -> Any:
    """The plain way: every vector of the library, block by block."""
    best, found, last = np.full((len(queries), k), -np.inf, np.float32), np.zeros((len(queries), k), np.int64), 0
    while True:
        ids, vectors = source.rows_after(last, 50_000)
        if not len(ids):
            return found
        last = int(ids[-1])
        scores = np.hstack([best, queries @ vectors.T])
        every = np.hstack([found, np.broadcast_to(ids, (len(queries), len(ids)))])
        order = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best, found = np.take_along_axis(scores, order, axis=1), np.take_along_axis(every, order, axis=1)


def build(library: Library, index: VectorIndex) -> dict[str, Any]:
    """An epoch, made as the program makes it: by a process of its own, with all threads."""
    command = [sys.executable, "-m", "retrieval.epoch_process", str(library.folder), str(library.cache)]
    command += [str(library.embedder.dimension), json.dumps(index._identity)]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env={k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"})
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "build_seconds": round(seconds, 1),
        "build_processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "build_peak_resident_gib": round(after.ru_maxrss / 2**20, 2),
    }


def measure(library: Library, questions: list[str], keep: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    source = ChunkRows(library.engine, library.embedder.dimension)
    # 1. an epoch from nothing
    index: VectorIndex = library._index
    if not keep:
        drop_epochs(library.cache)
        result |= build(library, index)
    manifest = json.loads((library.cache / "manifest.json").read_text())
    size = (library.cache / manifest["file"]).stat().st_size
    result |= {"factory": manifest["factory"], "index_bytes_per_vector": round(size / manifest["rows"], 1)}
    result["database_bytes_per_passage"] = round(library.stats()["database_bytes"] / manifest["rows"])
    # 2. vectors alone
    queries = library.embed(questions)
    allowed = source.all_ids()
    index.search(queries[:1], 10, allowed)
    seconds, processor, hits, wanted = [], [], [], exact_ids(source, queries, 10)
    for query, right in zip(queries, wanted, strict=True):
        began, busy = time.perf_counter(), time.process_time()
        _, ids = index.search(query[None], library.settings.candidates, allowed)
        seconds.append(time.perf_counter() - began)
        processor.append(time.process_time() - busy)
        hits.append(len(set(ids[0, :10].tolist()) & set(right.tolist())) / 10)
    result["vectors_ms"] = percentiles(seconds) | {"processor": percentiles(processor)}
    result["recall@10"] = round(float(np.mean(hits)), 4)
    # 3. the whole search
    library.search(questions[0], collections=["main"])
    for name in ("search_ms", "search_again_ms"):
        seconds, processor = [], []
        for question in questions:
            began, busy = time.perf_counter(), time.process_time()
            library.search(question, collections=["main"])
            seconds.append(time.perf_counter() - began)
            processor.append(time.process_time() - busy)
        result[name] = percentiles(seconds) | {"processor": percentiles(processor)}
    # 4. a document that is removed is not found by the next search
    top = library.search(questions[1], collections=["main"])[0]
    began = time.perf_counter()
    library.remove(top.document)
    removed = time.perf_counter()
    after = library.search(questions[1], collections=["main"], limit=100)
    result |= {
        "remove_500_passages_ms": round((removed - began) * 1000),
        "next_search_ms": round((time.perf_counter() - removed) * 1000),
    }
    result["deleted_seen"] = sum(found.document == top.document for found in after)
    result["anonymous_gib"] = anonymous_gib()
    result["peak_resident_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    return result


def anonymous_gib() -> float:
    """What this process holds now that is no file's page."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("RssAnon:")[1].split()[0]) / 2**20, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--real", type=int, default=50_000)
    parser.add_argument("--anyway", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--embed", metavar="I/N")
    arguments = parser.parse_args()
    files = sorted(arguments.corpus.glob("[0-9]*.txt.xz"))
    if arguments.embed:
        first, step = map(int, arguments.embed.split("/"))
        embed(files[first::step], arguments.folder / "real", load_embedder(), arguments.real)
        return
    questions, others = questions_of(arguments.corpus)
    embedder = Given(questions)
    home = arguments.folder / f"library-{arguments.rows}"
    whole = home / "whole.json"
    library = Library(home / "data", home / "cache", RetrievalSettings(), lambda: embedder)
    if not whole.exists():
        vectors = [unit(some) for some in (embedder.encode(questions), load_embedder().encode(others))]
        whole.write_text(json.dumps(filled(library, files, arguments, *vectors)))
    facts = json.loads(whole.read_text())
    print(json.dumps(facts | measure(library, questions, arguments.keep), indent=1))
    library.close()


if __name__ == "__main__":
    main()
