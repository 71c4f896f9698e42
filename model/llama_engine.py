"""GGUF models behind the engine protocol, run by llama.cpp.

One sequence is kept: the next prompt reads only what differs from the last. Constraints of every kind become a GBNF
grammar. Knows nothing about documents or what prompts mean.
"""

import hashlib
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from model.beginnings import common, shared
from model.chat_template import ChatTemplate
from model.engine import (
    SESSION,
    EngineInfo,
    Event,
    Finished,
    Logprobs,
    Message,
    Prefilling,
    Prompt,
    Request,
    Score,
    TokenLogprob,
    Usage,
)
from model.errors import (
    BadCheckpoint,
    ModelError,
    NotEnoughMemory,
    PromptTooLong,
    UnfitSetting,
    UnsupportedAdapter,
    UnsupportedConstraint,
    UnsupportedOperation,
)
from model.files import Progress, as_path
from model.gguf_info import describe_gguf
from model.llama_native import CacheType, NativeModel, Rope
from model.llama_sampling import grammar_of, stages_of
from model.llama_sequence import LlamaSequence
from model.llama_shelves import LlamaShelves
from model.plan.check import record_allocation
from model.plan.make import plan_file
from model.plan.place import Placement
from model.plan.result import Plan
from model.settings import ModelSettings
from model.streaming import Detokenizer, TextStream
from model.tokenizer import THINK

_LEAST_STEP = 32
"""Tokens of a prompt that are read between two chances to cancel, at least."""
_MARK_TOKENS = 8
"""Integers in front of a saved state's tokens that hold the model's fingerprint."""


class LlamaEngine:
    """A .gguf file as an `Engine`; of a split model, the first part.

    :raises MissingExtra: llama-cpp-python is not installed.
    :raises BadCheckpoint: the file is missing, or llama.cpp cannot read it.
    :raises NotEnoughMemory: the plan says that it does not fit; nothing was loaded.
    """

    def __init__(
        self,
        file: Path,
        settings: ModelSettings,
        reference: str | None = None,
        progress: Progress | None = None,
        shelves: Path | None = None,
        notes: Path | None = None,
    ) -> None:
        """Load it as its plan says, telling `progress` the bytes read and those to read.

        Beginnings of prompts that the folder `shelves` has are read from there, not by the model. What the plan got
        wrong is recorded in the file `notes`, from which later plans learn.
        """
        if not file.is_file():
            raise BadCheckpoint(f"{file} does not exist.", "Check the path.")
        if settings.cache_type == "fp8":
            raise UnfitSetting("GGUF models have no fp8 cache.", "Set model.cache_type to q8_0 or auto.")
        self._file = file
        self._info = describe_gguf(file, settings, reference or str(file))
        adapter = as_path(settings.adapter) if settings.adapter is not None else None
        if adapter is not None and not (adapter.suffix == ".gguf" and adapter.is_file()):
            raise UnsupportedAdapter(
                f"{adapter} is no .gguf file, as an adapter beside a GGUF model must be.",
                "Convert it with llama.cpp's convert_lora_to_gguf.py, or unset model.adapter.",
            )
        # 1. Whether it will fit, and where its parts go, before anything large is read.
        self.plan = plan = plan_file(file, settings, self._info.reference, notes, measured=False)
        if plan.refusal is not None:
            raise NotEnoughMemory(f"{file}: {plan.refusal.reason}", plan.refusal.mend)
        # 2. The model and its context.
        size = sum(plan.weights.values())
        self._native = NativeModel(
            file,
            context=plan.context,
            placement=Placement(plan.gpu_layers, plan.layers_of_gpus, plan.host_experts),
            cache_type=cast(CacheType, plan.cache_type),
            threads=plan.threads,
            batch=plan.batch,
            adapter=adapter,
            rope=Rope(settings.rope_base, settings.rope_scale),
            progress=progress and (lambda share: progress(int(share * size), size)),
        )
        record_allocation(plan, self._native.allocated, notes)
        source = self._native.chat_template
        self._template = source and ChatTemplate(
            source,
            where=str(file),
            bos_token=self._native.special_text("bos"),
            eos_token=self._native.special_text("eos"),
            control=self._native.control_tokens(),
        )
        # 3. What was read: in the cache, and on shelves.
        self._mark = _fingerprint(file)
        self._drafts = settings.speculate if settings.speculate != "auto" and self._native.rewinds else 0
        self._shelf_tokens, self._keep_session = settings.shelf_tokens, True
        self._shelves: LlamaShelves | None = None
        if shelves is not None:
            form = f"{plan.cache_type} {settings.rope_base} {settings.rope_scale} {adapter}"
            per_token = plan.cache_per_token[plan.cache_type]
            self._shelves = LlamaShelves(shelves, settings.shelf_gib, f"llama {self._mark} {form}", per_token)
        self._sequence = LlamaSequence(self._native, _step(plan), self._shelves)

    @property
    def allocated(self) -> dict[tuple[str, str], int]:
        """Bytes that llama.cpp says it allocated, by backend and kind."""
        return self._native.allocated

    def describe(self) -> EngineInfo:
        return replace(self._info, context=self._native.context_length, devices=self._devices())

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self._tokens(prompt))

    def generate(self, request: Request) -> Generator[Event, None, None]:
        # 1. Everything that can be refused is refused before the first token is read.
        sampling = request.sampling
        tokens = self._fitting(request.prompt, sampling.max_tokens)
        stages = stages_of(sampling, tokens, (self._native.vocabulary, self._native.context_length))
        sampler = self._native.sampler(stages, grammar_of(request.constraint))
        try:
            # 2. Read what the cache does not hold yet.
            started = time.perf_counter()
            cached = self._sequence.keep(tokens)
            for done in self._sequence.read(tokens):
                yield Prefilling(done, len(tokens))
            prefilled = time.perf_counter()

            # 3. Draw, show, feed back.
            detokenizer = Detokenizer(self._decode)
            stream = TextStream(sampling.stop, _opens_with_reasoning(self._decode(tokens[-8:])))
            made, ended = 0, False
            for token in self._sequence.draw(sampler, sampling.max_tokens, self._drafts):
                if self._native.ends(token):
                    ended = True
                    break
                made += 1
                if sampling.logprobs:
                    yield self._logprobs(token, sampling.logprobs)
                yield from stream.push(detokenizer.push(token))
                if stream.stopped:
                    break
            if not stream.stopped:
                yield from stream.push(detokenizer.flush())
                yield from stream.flush()

            # 4. Account.
            yield Finished(
                reason="stop" if ended or stream.stopped else "length",
                usage=Usage(len(tokens), cached, made, self._sequence.drafted, self._sequence.accepted),
                prefill_ms=(prefilled - started) * 1e3,
                decode_ms=(time.perf_counter() - prefilled) * 1e3,
            )
        finally:
            sampler.close()
            self._sequence.forget_drafts()

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        rows = [self._native.tokenize(candidate) for candidate in candidates]
        tokens = self._fitting(prompt, max((len(row) for row in rows), default=0))
        if not tokens:
            raise UnsupportedConstraint("Candidates need a prompt to follow.")
        first = self._sequence.read_all(tokens)
        scores: list[Score] = []
        for row in rows:
            if self._native.rewind(len(tokens)) != len(tokens):
                self._sequence.tokens.clear()
                self._sequence.read_all(tokens)
            logits = np.concatenate([first, self._sequence.read_every(row[:-1], len(tokens))])
            total = float(_log_softmax(logits)[np.arange(len(row)), row].sum()) if row else 0.0
            scores.append(Score(total, len(row)))
        self._sequence.tokens = tokens[: self._native.rewind(len(tokens))]
        return scores

    def save_prefix(self, prompt: Prompt, file: Path) -> None:
        tokens = self._fitting(prompt, 0)
        self._sequence.read_all(tokens)
        unfinished = file.with_name(file.name + ".part")
        try:
            self._native.save_state([*self._mark, *tokens], unfinished)
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)

    def load_prefix(self, file: Path) -> int:
        self._sequence.tokens.clear()
        saved = self._native.load_state(file, room=_MARK_TOKENS)
        if saved[:_MARK_TOKENS] != self._mark:
            self._native.rewind(0)
            raise BadCheckpoint(f"{file} was saved by another model.", "Delete it; it will be made again.")
        self._sequence.tokens = saved[_MARK_TOKENS:]
        return len(self._sequence.tokens)

    def shelve(self, prompts: Sequence[Prompt], label: str) -> int:
        """As `KeepsShelves.shelve`.

        :raises UnsupportedOperation: the engine was opened without a folder for shelves.
        :raises NotEnoughSpace: the disk budget has no room for it.
        """
        if self._shelves is None:
            raise UnsupportedOperation("The engine was opened without a folder for shelves.")
        rows = [self._fitting(prompt, 0) for prompt in prompts]
        tokens = shared(rows)
        self._sequence.read_all(tokens)
        self._shelves.keep(tokens, label, self._native, pinned=True)
        return len(tokens)

    def at_hand(self, prompt: Prompt) -> int:
        tokens = self._tokens(prompt)
        found = self._shelves.find(tokens) if self._shelves is not None else 0
        return max(common(self._sequence.tokens, tokens), found)

    def forget_sessions(self) -> None:
        self._keep_session = False
        self._sequence.forget()
        if self._shelves is not None:
            self._shelves.discard(SESSION)

    def close(self) -> None:
        read, self._sequence.tokens = self._sequence.tokens, []
        try:
            worth = self._keep_session and self._shelf_tokens is not None and len(read) >= self._shelf_tokens
            if worth and self._shelves is not None:
                with suppress(ModelError):  # a full disk, say: the answers were given all the same
                    self._shelves.keep(read, SESSION, self._native)
        finally:
            self._native.close()

    def _devices(self) -> tuple[str, ...]:
        """`cuda:0`, ... as far as they hold layers; the host where it holds more than the embedding."""
        gpus = [f"cuda:{number}" for number, own in enumerate(self.plan.layers_of_gpus) if own]
        whole = not self.plan.host_layers and not self.plan.host_experts
        return tuple(gpus) if gpus and whole else (*gpus, "cpu")

    def _tokens(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return self._native.tokenize(prompt, special=True)
        messages = [one for one in prompt if isinstance(one, Message)]
        if len(messages) < len(prompt) or not prompt:
            return [token for token in prompt if isinstance(token, int)]
        if not self._template:
            raise BadCheckpoint(f"{self._file} has no chat template.", "Give it plain text, or use a chat model.")
        return self._native.tokenize(self._template.render(messages), special=True)

    def _fitting(self, prompt: Prompt, room: int) -> list[int]:
        tokens = self._tokens(prompt)
        if len(tokens) + room > self._native.context_length:
            raise PromptTooLong(
                f"The prompt takes {len(tokens)} tokens and the answer up to {room}; the window holds "
                f"{self._native.context_length}.",
                "Shorten it, or raise model.context.",
            )
        return tokens

    def _logprobs(self, token: int, most: int) -> Logprobs:
        """How sure the model was of `token` after what was read last."""
        likely = _log_softmax(self._sequence.last)[0]
        best = np.argsort(-likely, kind="stable")[:most].tolist()
        own, *likeliest = [TokenLogprob(self._decode([one]), float(likely[one]), one) for one in (token, *best)]
        return Logprobs(own, tuple(likeliest))

    def _decode(self, tokens: Sequence[int]) -> str:
        return b"".join(self._native.piece(token) for token in tokens).decode(errors="replace")


def _step(plan: Plan) -> int:
    """Tokens of a prompt that are read at once.

    A step that takes seconds could not be cancelled: where prompts are read slowly, less is read at a time. A step for
    which weights are brought to a GPU takes as long whatever is read in it.
    """
    if plan.gpu_layers and (plan.host_experts or plan.host_layers):
        return plan.batch
    return max(_LEAST_STEP, min(plan.batch, int(plan.prefill)))


def _fingerprint(file: Path) -> list[int]:
    """What tells models apart, as small integers: size, header and 64 evenly spaced pages of the file."""
    digest = hashlib.sha256()
    size = file.stat().st_size
    digest.update(str(size).encode())
    with file.open("rb") as stream:
        for page in range(64):
            stream.seek(size * page // 64)
            digest.update(stream.read(4096))
    return [int.from_bytes(digest.digest()[2 * i : 2 * i + 2]) for i in range(_MARK_TOKENS)]


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return result


def _opens_with_reasoning(end_of_prompt: str) -> bool:
    """Whether the template itself opened the reasoning section."""
    return end_of_prompt.rstrip().endswith(THINK)
