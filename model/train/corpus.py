"""Reads the training corpus and packs it into a memory map of token ids.

A corpus folder holds `NN.txt.xz` (documents separated by U+001E), `validation.txt.xz` and `questions.jsonl.xz`.
A packed file is a flat `uint16` array: each document is BEGIN, its tokens, END. What shares text with an evaluation set
is left out where `decontaminate` wrote `dropped.json` beside the tokenizer.
"""

import hashlib
import json
import lzma
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEPARATOR = "\x1e"


def corpus_files(folder: Path) -> list[Path]:
    """The training parts of a corpus folder, in order."""
    files = sorted(folder.glob("[0-9]*.txt.xz"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no corpus parts (NN.txt.xz)")
    return files


def documents(file: Path, dropped: frozenset[str] = frozenset()) -> list[str]:
    """The documents of one part, in order, surrounding white space removed, without those of the ids `dropped`."""
    text = lzma.decompress(file.read_bytes()).decode("utf-8")
    found = [document for piece in text.split(SEPARATOR) if (document := piece.strip())]
    return [one for one in found if text_id(one) not in dropped] if dropped else found


def questions(folder: Path, dropped: frozenset[str] = frozenset()) -> Iterator[dict[str, Any]]:
    """Rows of `questions.jsonl.xz`, without those whose context is `dropped`: source, group, context, question, start,
    end, answer."""
    with lzma.open(folder / "questions.jsonl.xz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if not dropped or text_id(row["context"]) not in dropped:
                yield row


def text_id(text: str) -> str:
    """What tells a document or context from every other one, wherever it stands."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def read_dropped(tokenizer: Path) -> frozenset[str]:
    """The ids in `dropped.json` beside the file `tokenizer`; none without it."""
    file = tokenizer.with_name("dropped.json")
    return frozenset(json.loads(file.read_text("utf-8"))["dropped"]) if file.exists() else frozenset()


def pack_part(file: Path, tokenizer: Path, out: Path) -> int:
    """Tokenise one part into `out` (uint16) and return the number of tokens."""
    from tokenizers import Tokenizer

    from model.train.tokenizer import BEGIN_ID, END_ID

    encoder = Tokenizer.from_file(str(tokenizer))
    pieces: list[NDArray[np.uint16]] = []
    texts = documents(file, read_dropped(tokenizer))
    for first in range(0, len(texts), 256):
        for encoding in encoder.encode_batch(texts[first : first + 256], add_special_tokens=False):
            pieces.append(np.array([BEGIN_ID, *encoding.ids, END_ID], dtype=np.uint16))
    packed = np.concatenate(pieces)
    partial = out.with_suffix(".partial")
    packed.tofile(partial)
    partial.replace(out)
    return len(packed)


def pack(corpus: Path, tokenizer: Path, out: Path, workers: int = 1) -> list[Path]:
    """Tokenise every part and the validation text of `corpus` into `out`; packed parts are kept as they are."""
    out.mkdir(parents=True, exist_ok=True)
    sources = [*corpus_files(corpus), corpus / "validation.txt.xz"]
    targets = [out / source.name.replace(".txt.xz", ".u16") for source in sources]
    todo = [(source, target) for source, target in zip(sources, targets, strict=True) if not target.exists()]
    if workers == 1:
        for source, target in todo:
            pack_part(source, tokenizer, target)
    else:
        with ProcessPoolExecutor(workers) as pool:
            for done in [pool.submit(pack_part, source, tokenizer, target) for source, target in todo]:
                done.result()
    return targets


def load_packed(folder: Path) -> list[NDArray[np.uint16]]:
    """The packed training parts of `folder`, memory-mapped, in order."""
    return [np.memmap(file, dtype=np.uint16, mode="r") for file in sorted(folder.glob("[0-9]*.u16"))]
