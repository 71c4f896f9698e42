"""The same conversations, vectors and questions through this store and through mem0, side by side; one JSON object.

    python -m venv /tmp/mem0 && /tmp/mem0/bin/pip install mem0ai faiss-cpu
    PYTHONPATH=. python tests/bench/mem0_bench.py --path locomo5.json --mem0 /tmp/mem0/bin/python

mem0 stores every turn as it was said (`infer=False`), in FAISS with cosine, one user per conversation, without its
threshold. Both are handed vectors made beforehand, so times are those of the stores. A turn is one memory in both.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

K = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="locomo")
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--mem0", required=True, metavar="PYTHON", help="the interpreter that has mem0 and faiss")
    options = parser.parse_args()

    from app.evaluation.conversations import read
    from app.evaluation.memory import line
    from retrieval.embedder import load_embedder

    conversations = read(options.dataset, options.path)
    work = {
        one.name: {
            "said": [line(said) for said in one.said],
            "keys": [said.key for said in one.said],
            "questions": [question.text for question in one.questions],
        }
        for one in conversations
    }
    gold = {one.name: [question.evidence for question in one.questions] for one in conversations}
    texts = sorted({text for part in work.values() for text in (*part["said"], *part["questions"])})
    vectors = load_embedder().encode(texts)
    with tempfile.TemporaryDirectory() as folder:
        handed = Path(folder) / "work.npz"
        np.savez(handed, texts=np.array(texts, object), vectors=vectors, work=np.array(json.dumps(work)))
        child = subprocess.run(
            [options.mem0, __file__, "--as-mem0", str(handed)], check=True, stdout=subprocess.PIPE, text=True
        )
        theirs = json.loads(child.stdout.splitlines()[-1])
        ours = run_loci(Path(folder), work, dict(zip(texts, vectors, strict=True)), conversations)
    print(json.dumps({"loci": summary(ours, gold), "mem0": summary(theirs, gold)}, indent=2))


def run_loci(
    folder: Path, work: dict[str, Any], vector: dict[str, Any], conversations: Sequence[Any]
) -> dict[str, Any]:
    """Add every turn and ask every question, as `loci eval memory` does."""
    from memory.settings import MemorySettings
    from memory.store import MemoryStore
    from memory.types import Source

    def embed(wanted: Sequence[str]) -> Any:
        return np.stack([vector[text] for text in wanted])

    everything = MemorySettings(min_similarity=-1.0, min_coverage=0.0)
    store = MemoryStore(folder, everything, embed, "bench")
    adds, searches = [], []
    rankings: dict[str, list[list[str]]] = {}
    for one in conversations:
        sessions: dict[str, int] = {}
        key_of: dict[int, str] = {}
        for said, text in zip(one.said, work[one.name]["said"], strict=True):
            if said.session not in sessions:
                sessions[said.session] = store.start_session(one.name, said.session, said.at)
            source = Source("told", sessions[said.session], speaker=said.speaker)
            started = time.perf_counter()
            added = store.add(text, kind="episode", scope=one.name, source=source, now=said.at)
            adds.append(time.perf_counter() - started)
            key_of[added.id] = said.key
        rankings[one.name] = []
        for question in work[one.name]["questions"]:
            started = time.perf_counter()
            found = store.recall(question, scopes=[one.name], limit=K)
            searches.append(time.perf_counter() - started)
            rankings[one.name].append([key_of[item.memory.id] for item in found])
    store.close()
    return {"adds": adds, "searches": searches, "rankings": rankings}


def run_mem0(handed: Path) -> dict[str, Any]:
    """The same in an interpreter that has mem0, and nothing of this project."""
    import os

    folder = str(handed.parent / "mem0")
    os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": folder, "OPENAI_API_KEY": "unused"}
    from mem0 import Memory

    data = np.load(handed, allow_pickle=True)
    work = json.loads(str(data["work"]))
    vector = {text: row.tolist() for text, row in zip(data["texts"], data["vectors"], strict=True)}
    width = data["vectors"].shape[1]
    faiss = {"collection_name": "bench", "path": folder, "embedding_model_dims": width, "distance_strategy": "cosine"}
    memory = Memory.from_config(
        {
            "vector_store": {"provider": "faiss", "config": faiss},
            "history_db_path": str(handed.parent / "history.db"),
        }
    )

    class Known:
        """Its embedder, replaced by one that looks the vector up."""

        config = memory.embedding_model.config

        def embed(self, text: str, action: str | None = None) -> list[float]:
            return vector[text]

        def embed_batch(self, texts: list[str], action: str | None = None) -> list[list[float]]:
            return [vector[text] for text in texts]

    memory.embedding_model = Known()
    adds, searches = [], []
    rankings: dict[str, list[list[str]]] = {}
    for name, part in work.items():
        for key, text in zip(part["keys"], part["said"], strict=True):
            started = time.perf_counter()
            memory.add(text, user_id=name, metadata={"key": key}, infer=False)
            adds.append(time.perf_counter() - started)
        rankings[name] = []
        for question in part["questions"]:
            started = time.perf_counter()
            found = memory.search(question, top_k=K, filters={"user_id": name}, threshold=0.0)
            searches.append(time.perf_counter() - started)
            rankings[name].append([one["metadata"]["key"] for one in found["results"]])
    return {"adds": adds, "searches": searches, "rankings": rankings}


def summary(ran: dict[str, Any], gold: dict[str, list[frozenset[str]]]) -> dict[str, float]:
    """Evidence recall, and milliseconds without the embedder."""
    pairs = [pair for name, rankings in ran["rankings"].items() for pair in zip(rankings, gold[name], strict=True)]
    result = {
        f"recall@{k}": float(np.mean([len(set(ranking[:k]) & wanted) / len(wanted) for ranking, wanted in pairs]))
        for k in (5, 10, 25, 50)
    }
    for name in ("adds", "searches"):
        for percent in (50, 95):
            result[f"{name} p{percent} ms"] = float(np.percentile(ran[name], percent)) * 1e3
    return {name: round(value, 4) for name, value in result.items()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-mem0"]:
        print(json.dumps(run_mem0(Path(sys.argv[2]))))
    else:
        main()
