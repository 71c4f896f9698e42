"""Ingest from files to stored vectors: passages per second beside the embedder alone, and a second run over the files.

    python tests/bench/ingest_bench.py --corpus DIR [--files 10000] [--folder FOLDER]

`DIR` holds `NN.txt.xz` (documents divided by U+001E). Files are cut from them at paragraphs, about `CHARACTERS` long,
so that most passages are near the embedder's window. The embedder alone embeds a part of the very texts, in batches as
large as the ingest's, before and after it, since other work on the machine moves both. Prints JSON; the bars are 80
passages per second or 85% of the embedder alone, a median of 180 word pieces, 10 s for the second run.
"""

import argparse
import json
import lzma
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.chunker import chunk
from retrieval.embedder import Embedder, load_embedder
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.readers.registry import read
from retrieval.settings import RetrievalSettings

CHARACTERS = 2800
_BATCH = 256
_SAMPLE = 4096
"""Passages that the embedder embeds alone, half of them before the ingest."""


class Timed:
    """The embedder, with the seconds that were spent in it."""

    def __init__(self, embedder: Embedder) -> None:
        self.id, self.sha256 = embedder.id, embedder.sha256
        self.dimension, self.max_tokens = embedder.dimension, embedder.max_tokens
        self.count_tokens = embedder.count_tokens
        self._encode = embedder.encode
        self.seconds = 0.0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        began = time.perf_counter()
        vectors = self._encode(texts)
        self.seconds += time.perf_counter() - began
        return vectors


def texts_of(corpus: Path) -> Iterator[str]:
    """Runs of paragraphs of about `CHARACTERS` characters, none of two documents."""
    for file in sorted(corpus.glob("[0-9]*.txt.xz")):
        for document in lzma.decompress(file.read_bytes()).decode().split("\x1e"):
            held = ""
            for paragraph in filter(None, (part.strip() for part in document.split("\n"))):
                held = f"{held}\n\n{paragraph}" if held else paragraph
                if len(held) >= CHARACTERS:
                    yield held
                    held = ""


def write_files(corpus: Path, folder: Path, count: int) -> list[Path]:
    """Plain text in folders of a hundred, as people have them."""
    files: list[Path] = []
    for number, text in enumerate(texts_of(corpus)):
        if number == count:
            break
        path = folder / f"{number // 100:03}" / f"{number:05}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        files.append(path)
    return files


def alone(embedder: Embedder, texts: Sequence[str]) -> float:
    """Seconds that the embedder takes for `texts`."""
    began = time.perf_counter()
    for at in range(0, len(texts), _BATCH):
        embedder.encode(texts[at : at + _BATCH])
    return time.perf_counter() - began


def measure(corpus: Path, count: int, root: Path) -> dict[str, Any]:
    embedder = Timed(load_embedder())
    files = write_files(corpus, root / "files", count)
    limit = min(RetrievalSettings().chunk_tokens, embedder.max_tokens)
    spread = files[:: max(len(files) * 3 // _SAMPLE, 1)]
    sample = [piece.embedded for file in spread for piece in chunk(read(file), embedder.count_tokens, limit)][:_SAMPLE]
    embedder.encode(sample[:_BATCH])  # weights are loaded, and the faster precision is found
    half = len(sample) // 2
    seconds = alone(embedder, sample[:half])

    library = Library(root / "library", root / "cache", RetrievalSettings(), lambda: embedder)
    embedder.seconds = 0.0
    began = time.perf_counter()
    first = ingest(library, [root / "files"])
    ingested, embedding = time.perf_counter() - began, embedder.seconds
    seconds += alone(embedder, sample[half:])
    began = time.perf_counter()
    second = ingest(library, [root / "files"])
    again = time.perf_counter() - began
    passages = library.stats()["chunks"]
    library.close()
    return {
        "files": len(files),
        "passages": passages,
        "median_word_pieces": statistics.median(embedder.count_tokens(text) for text in sample),
        "passages_per_second": passages / ingested,
        "embedder_alone_per_second": len(sample) / seconds,
        "share_of_embedder_alone": passages / ingested / (len(sample) / seconds),
        "share_of_time_in_embedder": embedding / ingested,
        "second_run_seconds": again,
        "added": sum(result.status == "added" for result in first),
        "unchanged": sum(result.status == "unchanged" for result in second),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="Where files and library are made; by default a temporary folder.")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(wanted.corpus, wanted.files, wanted.folder or Path(scratch)), indent=2))


if __name__ == "__main__":
    main()
