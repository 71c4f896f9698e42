"""Engines with queued answers, and a library and a memory in plain lists: the assistant's rooms without their
weight."""

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.sentences import content_words
from memory.banks import Bank, within
from memory.branches import Branches
from memory.extract import extract
from memory.redact import is_hollow, redact
from memory.types import Memory, Recalled, Source, Turn
from model.engine import Delta, EngineInfo, Event, Finished, Prefilling, Prompt, Request, Score, Usage
from retrieval.tables.grid import Row
from retrieval.tables.store import Listed
from retrieval.types import DocumentInfo, Drift, Locator, Passage, Position, Section


class FakeEngine:
    """Says what is queued, word by word; a token is four characters. Remembers every request."""

    def __init__(
        self,
        *answers: str,
        capabilities: Sequence[str] = ("chat", "json_schema"),
        context: int = 4096,
        rate: float = 1000.0,
    ) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.scored: list[tuple[Prompt, Sequence[str]]] = []
        self.capabilities, self.context, self.rate = frozenset(capabilities), context, rate

    def describe(self) -> EngineInfo:
        return EngineInfo(
            "fake", "Fake", "torch", "fake", self.context, "none", ("cuda:0",), self.capabilities, 10**9, 10**9
        )  # type: ignore[arg-type]

    def count_tokens(self, prompt: Prompt) -> int:
        if isinstance(prompt, str):
            return -(-len(prompt) // 4)
        return sum(5 + -(-len(m.content) // 4) if hasattr(m, "content") else 1 for m in prompt)

    def generate(self, request: Request) -> Generator[Event, None, None]:
        self.requests.append(request)
        tokens = self.count_tokens(request.prompt)
        assert tokens + request.sampling.max_tokens <= self.context
        yield Prefilling(tokens, tokens)
        answer = self.answers.pop(0)
        for word in answer.split(" "):
            yield Delta(word + " ")
        yield Finished("stop", Usage(tokens, 0, len(answer.split())), 1000 * tokens / self.rate, 10.0)

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        self.scored.append((prompt, candidates))
        return [Score(-1.0 * len(c), max(len(c) // 4, 1)) for c in candidates]

    def close(self) -> None: ...


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of hashed words: the more words two texts share, the higher their cosine."""
    vectors = np.full((len(texts), 256), 1e-3, dtype=np.float32)
    for row, text in enumerate(texts):
        for word in content_words(text):
            vectors[row, int(hashlib.md5(word.encode()).hexdigest(), 16) % 256] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class FakeLibrary:
    """Documents as (path, text); a passage is a paragraph."""

    def __init__(self, **texts: str) -> None:
        self.texts = {f"d{n}": (name, text) for n, (name, text) in enumerate(texts.items(), 1)}
        self.queries: list[str] = []
        self.pinned: set[str] = set()
        self.drift: dict[str, Drift] = {}

    def epoch(self) -> int:
        return 1

    def drifted(self, documents: Iterable[str]) -> dict[str, Drift]:
        return {one: self.drift[one] for one in documents if one in self.drift}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return embed(texts)

    embed_kept = embed

    def sections(self, document: str) -> list[Section]:
        return [(0, len(self.texts[document][1]), "")]

    def tables(
        self, collections: Sequence[str], documents: Sequence[str] | None = None, epoch: int | None = None
    ) -> list[Listed]:
        return []

    def table_rows(self, table: int) -> list[Row]:
        return []

    def match(
        self, question: str, parts: Sequence[tuple[int, int]], texts: Sequence[str]
    ) -> NDArray[np.float32] | None:
        return None

    def search(
        self,
        query: str,
        *,
        collections: Sequence[str],
        limit: int = 10,
        documents: Sequence[str] | None = None,
        epoch: int | None = None,
    ) -> list[Passage]:
        self.queries.append(query)
        found = []
        for id, (name, text) in self.texts.items():
            start = 0
            for part in text.split("\n\n") if documents is None or id in documents else []:
                dense = float(embed([part])[0] @ embed([query])[0])
                sha256 = hashlib.sha256(text.encode()).hexdigest()
                found.append(
                    Passage(
                        len(found),
                        id,
                        f"{name}.md",
                        name,
                        None,
                        text.count("\n", 0, start) + 1,
                        start,
                        start + len(part),
                        Locator(),
                        part,
                        sha256,
                        "main",
                        dense,
                        dense,
                    )
                )
                start += len(part) + 2
        return sorted(found, key=lambda p: -p.score)[:limit]

    def text(self, document: str) -> str:
        return self.texts[document][1]

    def locate(self, document: str, start: int, end: int) -> Position:
        return Position(None, self.text(document).count("\n", 0, start) + 1)

    def document(self, reference: str) -> DocumentInfo:
        return next(d for d in self.documents() if d.id == reference)

    def documents(self, collections: Sequence[str] | None = None) -> list[DocumentInfo]:
        return [
            DocumentInfo(
                id,
                f"{name}.md",
                name,
                "main",
                "text/markdown",
                len(text),
                len(text),
                None,
                1,
                "",
                f"2026-01-0{n}T00:00:00Z",
                id in self.pinned,
            )
            for n, (id, (name, text)) in enumerate(self.texts.items(), 1)
        ]


class FakeMemory:
    """A memory store in lists; remembers what `extract` finds."""

    def __init__(self, *texts: str) -> None:
        self.memories = [memory(n, text) for n, text in enumerate(texts, 1)]
        self.stored: dict[int, Turn] = {}
        self.parents: dict[int, int] = {}
        self.requests: dict[str, int] = {}
        self.observed: list[dict[str, Any]] = []
        self.foreign = 0

    def recall(
        self, query: str, *, scopes: Sequence[str], limit: int | None = None, budget: Mapping[Bank, int] | None = None
    ) -> list[Recalled]:
        scored = [
            Recalled(m, s, s, None) for m in self.memories if (s := float(embed([m.text])[0] @ embed([query])[0])) > 0.1
        ]
        found = sorted(scored, key=lambda r: -r.score)
        return (found if budget is None else within(found, budget))[:limit]

    def plain(self, text: str) -> str:
        return redact(text).text

    def unembedded(self) -> int:
        return self.foreign

    def requested(self, request: str) -> Turn | None:
        return self.turn(self.requests[request]) if request in self.requests else None

    def turn(self, id: int) -> Turn:
        return self.stored[id]

    def branch(self, session: int, upto: int | None = None) -> list[Turn]:
        return [self.stored[turn] for turn in Branches(self.parents).path(upto)]

    def begin_turn(
        self, session: int | None, question: str, *, after: int | None, scope: str, request: str | None
    ) -> int:
        if request in self.requests:
            return self.requests[request]
        id = len(self.stored) + 1
        if request is not None:
            self.requests[request] = id
        self.parents[id] = id - 1 if after is None else after
        self.stored[id] = Turn(id, session or 1, "2026-01-01T00:00:00Z", question, "", "", False)
        return id

    def update_turn(self, turn: int, answer: str) -> None: ...

    def finish_turn(self, turn: int, answer: str, answer_json: str, complete: bool) -> None:
        before = self.stored[turn]
        self.stored[turn] = Turn(turn, before.session, before.asked_at, before.question, answer, answer_json, complete)

    def observe(self, turn_id: int, question: str, **seen: Any) -> list[Memory]:
        self.observed.append({"question": question, **seen})
        said = [one.text for one in extract(self.plain(question), datetime(2026, 1, 1, tzinfo=UTC))]
        new = [memory(len(self.memories) + 1, text) for text in said if not is_hollow(text)]
        self.memories += new
        return new


def memory(id: int, text: str) -> Memory:
    day = "2026-01-01T00:00:00Z"
    return Memory(id, text, "fact", "main", "active", False, None, day, None, 0, day, None, None, Source("told"))
