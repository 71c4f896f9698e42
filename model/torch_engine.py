"""The torch engine: this project's own implementation of DeepSeek-V2/V3, behind the engine protocol.

Several generations may be open at once: each step advances all of them, whichever generator asked for it. What was
read stays in the cache while there is room, and is found again by later prompts with the same beginning. Knows nothing
about documents or what prompts mean.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch

from model.batch import Batch
from model.beginnings import shared
from model.blocks import Blocks
from model.cache import PAGE, LatentCache
from model.checkpoint import fingerprint
from model.config import read_config
from model.constraints import compile_constraint
from model.engine import SESSION, EngineInfo, Event, Prompt, Request, Score
from model.errors import BadCheckpoint, ModelError, NotEnoughSpace, PromptTooLong, UnsupportedOperation
from model.files import Progress
from model.folder_info import describe_folder
from model.generation import Generation
from model.layout import choose_layout
from model.placement import (
    adapter_folder,
    choose_chunk,
    choose_device,
    choose_drafts,
    choose_dtype,
    count_parameters,
    end_tokens,
    is_small,
)
from model.prefix import open_prefix, write_prefix
from model.runner import Runner
from model.scheduler import Scheduler
from model.scoring import score
from model.sequence import TokenSequence
from model.settings import ModelSettings
from model.shelves import Shelves
from model.spill import describe_spill
from model.spread import load_runner
from model.tokenizer import Tokenizer

_KEPT = 8
"""Conversations that are kept when the engine closes, at most."""


class TorchEngine:
    """A checkpoint folder in the Hugging Face layout as an `Engine`. Not thread-safe."""

    def __init__(
        self,
        folder: Path,
        settings: ModelSettings,
        reference: str | None = None,
        progress: Progress | None = None,
        shelves: Path | None = None,
    ) -> None:
        """Load it, telling `progress` the bytes read and those to read.

        Beginnings of prompts that the folder `shelves` has are read from there, not by the model.

        :raises UnsupportedArchitecture: the architecture or a feature is not implemented; no weight was read.
        :raises BadCheckpoint: files are missing, damaged or do not fit together.
        :raises NotEnoughMemory: the window asked for does not fit; no weight was read.
        """
        info = describe_folder(folder, settings, reference)
        config, adapter = read_config(folder), adapter_folder(settings)
        self._tokenizer = Tokenizer(folder)
        if self._tokenizer.vocab_size > config.vocab_size:
            raise BadCheckpoint(
                f"{folder / 'tokenizer.json'} has {self._tokenizer.vocab_size} tokens, config.json only "
                f"{config.vocab_size}.",
                "Check that both come from the same checkpoint.",
            )
        self._ends = end_tokens(folder, config, self._tokenizer)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        # 1. Whether it will fit, before anything large is read.
        device = choose_device(settings.device)
        total, active = count_parameters(config)
        dtype = choose_dtype(settings.dtype, total, device)
        layout = choose_layout(folder, config, settings, dtype, device, total)
        # 2. The model, and a cache in what it leaves.
        decodes_alone = settings.threads is None and device.type == "cpu" and is_small(active)
        runner = load_runner(folder, dtype, layout, settings, adapter, progress, decodes_alone)
        self._runner: Runner | None = runner
        self._config = runner.model.config  # without the predictors that were announced and are not there
        fp8 = settings.cache_type == "fp8"
        try:
            drafts = choose_drafts(settings.speculate, len(runner.model.mtp))
            capacity = runner.capacity(settings)
            runner.open_cache(capacity.pages, fp8, settings.attention_layout == "sequence")
            # The predictor has read the cached tokens, too, and skipped experts have changed them.
            self._identity = f"{fingerprint(folder, adapter)} {dtype}{' fp8' * fp8}{' with drafts' * bool(drafts)}"
        except BaseException:  # memory that is not there, Ctrl-C: what runs elsewhere must not stay
            runner.close()
            raise
        if settings.expert_threshold:
            self._identity += f" skipping {settings.expert_threshold}"
        if settings.attended_pages is not None:
            self._identity += f" attending to {settings.attended_pages} pages"
        self._context = capacity.context
        words = describe_spill(runner.model)
        devices = tuple(f"{one} ({words})" if words else str(one) for one in layout.devices)
        self._info = replace(info, context=capacity.context, devices=devices)
        # 3. What advances sequences.
        self._blocks = Blocks(capacity.pages)
        self._scheduler = Scheduler(self._blocks, choose_chunk(active, device))
        self._batch = Batch(runner, self._scheduler, self._ends, self._tokenizer.vocab_size, self._context, drafts)
        self._shelf_tokens = settings.shelf_tokens
        budget = int(settings.shelf_gib * (1 << 30))
        self._shelves = Shelves(shelves, budget, self._identity) if shelves is not None else None
        self._ended: list[list[int]] = []  # what may be kept when the engine closes
        self._drafting = drafts > 0
        self._root = hashlib.sha256(self._identity.encode()).digest()

    # --- The protocol

    def describe(self) -> EngineInfo:
        return self._info

    @property
    def cache_tokens(self) -> int:
        """What the cache holds, in tokens of whole pages."""
        return self._blocks.count * PAGE

    def allocated_bytes(self) -> int:
        """Bytes of this process's weights and cache; a CPU's cache is touched when it is filled."""
        runner = self._loaded()
        held = {one.data_ptr(): one.nbytes for one in (*runner.model.parameters(), *runner.model.buffers())}
        return sum(held.values()) + runner.cache.storage.nbytes

    def peak_bytes(self) -> int | None:
        """Most bytes of tensors that this process's GPU held so far; None on a CPU, which does not count them."""
        device = self._loaded().device
        return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self._tokenizer.prompt_ids(prompt))

    def generate(self, request: Request) -> Generator[Event, None, None]:
        generation = self._begin(request)
        try:
            while True:
                while generation.events:  # other generators' steps may have brought some
                    yield generation.events.popleft()
                if generation.finished:
                    return
                self._step()
        finally:
            self._end(generation)

    def generate_all(self, requests: Sequence[Request]) -> Iterator[tuple[int, Event]]:
        generations: list[Generation] = []
        try:
            for request in requests:
                generations.append(self._begin(request))
            while not all(one.finished for one in generations):
                self._step()
                for number, generation in enumerate(generations):
                    while generation.events:
                        yield number, generation.events.popleft()
        finally:
            for generation in generations:
                self._end(generation)

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        rows = [self._tokenizer.encode(candidate) for candidate in candidates]
        tokens = self._prompt(prompt, max((len(row) for row in rows), default=0))
        with self._reading(tokens) as sequence:
            assert sequence.last is not None  # it was read
            runner = self._loaded()
            with runner.guard():
                totals = score(runner, sequence.pages, sequence.held, sequence.last, rows)
        return [Score(total, len(row)) for total, row in zip(totals, rows, strict=True)]

    def save_prefix(self, prompt: Prompt, file: Path) -> None:
        with self._reading(self._prompt(prompt, 0)) as sequence:
            write_prefix(file, self._identity, sequence.tokens, self._loaded().cache, sequence.pages)

    def load_prefix(self, file: Path) -> int:
        runner = self._loaded()
        prefix = open_prefix(file, self._identity, runner.cache)
        length = len(prefix.tokens)
        if length > self._context:
            raise PromptTooLong(f"{file} holds {length} tokens; the window is {self._context}.", "Raise context.")
        sequence = self._sequence(prefix.tokens)
        if not self._blocks.grow(sequence, length):
            raise ModelError("Answers that are being written take all of the cache.", "Let them end first.")
        try:
            runner.restore(prefix, sequence.pages, length)
            sequence.held = length
            sequence.followed = None if sequence.followed is None else length - 1
        finally:
            self._blocks.close(sequence)
        return length

    def shelve(self, prompts: Sequence[Prompt], label: str) -> int:
        """Read what `prompts` begin with in common and keep it on disk until it is asked to go; its tokens.

        What was kept under `label` before goes.

        :raises UnsupportedOperation: the engine was opened without a folder for shelves.
        :raises NotEnoughSpace: the disk budget has no room for it.
        """
        if self._shelves is None:
            raise UnsupportedOperation("The engine was opened without a folder for shelves.")
        rows = [self._prompt(prompt, 0) for prompt in prompts]
        tokens = shared(rows)
        with self._reading(tokens) as sequence:
            kept = self._shelves.store(sequence, self._loaded().cache, label, pinned=True)
        if kept is None:
            raise NotEnoughSpace(
                f"The shelves have no room for {label} ({len(tokens)} tokens).",
                "Unpin something, or raise model.shelf_gib.",
            )
        return len(tokens)

    def at_hand(self, prompt: Prompt) -> int:
        sequence = self._sequence(self._tokenizer.prompt_ids(prompt))
        found = self._shelves.find(sequence) if self._shelves is not None else None
        return max(self._blocks.known(sequence) * PAGE, 0 if found is None else found[1])

    def forget_sessions(self) -> None:
        self._ended.clear()
        if self._shelves is not None:
            self._shelves.discard(SESSION)

    def close(self) -> None:
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        try:
            self._keep_ended(runner.cache)
        finally:
            runner.close()
            self._batch.close()

    # --- Sequences

    def _begin(self, request: Request) -> Generation:
        """Everything that can be refused is refused here, before the first token is read."""
        constraint = compile_constraint(request.constraint, self._tokenizer, self._ends)
        bound = constraint.longest if constraint is not None else None
        most = request.sampling.max_tokens
        tokens = self._prompt(request.prompt, min(most, bound or most))
        sequence = self._sequence(tokens)
        self._fetch(sequence)
        generation = Generation(sequence, request.sampling, constraint, self._tokenizer, self._ends)
        self._batch.add(sequence, generation)
        return generation

    @contextmanager
    def _reading(self, tokens: list[int]) -> Iterator[TokenSequence]:
        """All of `tokens` in the cache, for as long as they are needed."""
        sequence = self._sequence(tokens)
        self._fetch(sequence)
        self._batch.add(sequence)
        try:
            while sequence.last is None:
                self._step()
            yield sequence
        finally:
            self._batch.remove(sequence)

    def _sequence(self, tokens: list[int]) -> TokenSequence:
        return TokenSequence(tokens, self._root, followed=0 if self._drafting else None)

    def _end(self, generation: Generation) -> None:
        """Take a generation out; what was read stays in the cache, and is perhaps worth keeping."""
        self._batch.remove(generation.sequence)
        if self._shelf_tokens is not None and self._shelves is not None:
            self._ended = [*self._ended[1 - _KEPT :], generation.sequence.tokens]

    def _fetch(self, sequence: TokenSequence) -> None:
        """Bring what shelves have of the sequence's beginning, beyond what is here, into the cache."""
        if self._shelves is None or len(sequence.tokens) <= PAGE:
            return
        found = self._shelves.find(sequence)
        if found is not None and found[1] - self._blocks.known(sequence) * PAGE >= PAGE:
            shelf, common = found
            self._shelves.restore(shelf, sequence, common, self._blocks, self._loaded())

    def _keep_ended(self, cache: LatentCache) -> None:
        """Put the last conversations on shelves, as far as their cache is still here."""
        while self._ended and self._shelves is not None and self._shelf_tokens is not None:
            sequence = self._sequence([*self._ended.pop(), -1])
            if self._blocks.open(sequence) is not None:  # part of another's page: not worth the copy
                sequence.held -= sequence.held % PAGE
            if sequence.held >= self._shelf_tokens:
                with suppress(ModelError):  # a full disk, say, or a lost rank: the answers were given all the same
                    self._shelves.store(sequence, cache, SESSION)
            self._blocks.close(sequence)

    def _step(self) -> None:
        with self._loaded().guard():
            self._batch.step()

    def _loaded(self) -> Runner:
        if self._runner is None:
            raise ModelError("The engine was closed.", "Open the model again.")
        return self._runner

    def _prompt(self, prompt: Prompt, answer: int) -> list[int]:
        """Token ids of `prompt`, which with `answer` more fit the window."""
        self._loaded()
        tokens = self._tokenizer.prompt_ids(prompt)
        if not tokens:
            raise ModelError("The prompt is empty.", "Give at least one token.")
        if wrong := [token for token in tokens if not 0 <= token < self._config.vocab_size]:
            raise ModelError(
                f"Token {wrong[0]} is not in the vocabulary of {self._config.vocab_size}.",
                "Give token ids of this model's own tokenizer.",
            )
        if len(tokens) + answer > self._context:
            raise PromptTooLong(
                f"{len(tokens)} tokens of prompt and {answer} of answer exceed the window of {self._context}.",
                "Shorten the prompt or ask for fewer tokens.",
            )
        return tokens
