"""The torch engine: this project's own implementation of DeepSeek-V2/V3, behind the engine protocol.

One sequence is kept: the last prompt and its answer stay in the latent cache, and the next prompt reads only what
differs. Knows nothing about documents or what prompts mean.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from model.cache import PAGE, LatentCache
from model.checkpoint import Progress, fingerprint, load_model
from model.config import read_config
from model.constraints import compile_constraint
from model.deepseek import DeepseekForCausalLM
from model.engine import (
    EngineInfo,
    Event,
    Finished,
    Logprobs,
    Prefilling,
    Prompt,
    Request,
    Score,
    TokenLogprob,
    Usage,
)
from model.errors import BadCheckpoint, ModelError, PromptTooLong
from model.placement import (
    adapter_folder,
    choose_chunk,
    choose_context,
    choose_device,
    choose_drafts,
    choose_dtype,
    count_parameters,
    end_tokens,
    is_small,
    read_capabilities,
    read_card,
)
from model.prefix import read_prefix, write_prefix
from model.sampling import Drawn, Sampler
from model.settings import ModelSettings
from model.speculate import draft, follow, verify
from model.step import Reading, make_branches, make_step
from model.streaming import Detokenizer, TextStream
from model.tokenizer import THINK, Tokenizer

_BRANCH_TOKENS = 1024
_BRANCH_SCORES = 1 << 25
"""Limits on one batch of scored candidates: tokens, and attention scores of one layer (128 MiB in float32)."""


class TorchEngine:
    """A checkpoint folder in the Hugging Face layout as an `Engine`."""

    def __init__(
        self,
        folder: Path,
        settings: ModelSettings,
        reference: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Load it, telling `progress` the bytes read and those to read.

        :raises UnsupportedArchitecture: the architecture or a feature is not implemented; no weight was read.
        :raises BadCheckpoint: files are missing, damaged or do not fit together.
        """
        self._info = describe_folder(folder, settings, reference)
        self._config = read_config(folder)
        self._folder = folder
        self._adapter = adapter_folder(settings)
        self._tokenizer = Tokenizer(folder)
        if self._tokenizer.vocab_size > self._config.vocab_size:
            raise BadCheckpoint(
                f"{folder / 'tokenizer.json'} has {self._tokenizer.vocab_size} tokens, config.json only "
                f"{self._config.vocab_size}."
            )
        self._ends = end_tokens(folder, self._config, self._tokenizer)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self._context = self._info.context
        self._device = choose_device(settings.device)
        total, active = count_parameters(self._config)
        self._dtype = choose_dtype(settings.dtype, total, self._device)
        self._chunk = choose_chunk(active, self._device)
        # One token of a small model is too little work to share: on a busy machine, threads that wait for one another
        # cost up to 20 times what they save.
        self._decodes_alone = settings.threads is None and self._device.type == "cpu" and is_small(active)
        model = load_model(folder, self._dtype, self._device, progress=progress, adapter=self._adapter)
        self._model: DeepseekForCausalLM | None = model
        self._config = model.config  # without the predictors that were announced and are not there
        self._drafts = choose_drafts(settings.speculate, len(model.mtp))
        self._pages = range(-(-self._context // PAGE))
        self._cache = LatentCache(self._config, len(self._pages), self._dtype, self._device)
        self._held: list[int] = []  # the tokens whose latents the cache holds
        self._followed = 0  # how many of them the predictor has read, each with the token after it

    # --- The protocol

    def describe(self) -> EngineInfo:
        return self._info

    def count_tokens(self, prompt: Prompt) -> int:
        return len(self._tokenizer.prompt_ids(prompt))

    def generate(self, request: Request) -> Generator[Event, None, None]:
        # 1. Everything that can be refused is refused before the first token is read.
        sampling = request.sampling
        constraint = compile_constraint(request.constraint, self._tokenizer, self._ends)
        bound = constraint.longest if constraint is not None else None
        tokens = self._prompt(request.prompt, min(sampling.max_tokens, bound or sampling.max_tokens))

        # 2. Read what the cache does not hold yet.
        started = time.perf_counter()
        cached = self._reusable(tokens)
        hidden = yield from self._read(tokens)
        prefilled = time.perf_counter()

        # 3. Draw, show, feed back.
        sampler = Sampler(sampling, tokens, constraint)
        detokenizer = Detokenizer(self._tokenizer.decode)
        reasoning = self._tokenizer.decode(tokens[-4:]).rstrip().endswith(THINK)
        stream = TextStream(sampling.stop, reasoning)
        passes: list[tuple[int, int]] = []  # of each: tokens drafted, drafts kept
        made, ended = 0, False
        for drawn in self._decode(hidden, sampler, passes):
            made += 1
            if drawn.token in self._ends:
                ended = True
                break
            if sampling.logprobs:
                yield self._logprobs(drawn)
            yield from stream.push(detokenizer.push(drawn.token))
            if stream.stopped:
                break
        if not stream.stopped:
            yield from stream.push(detokenizer.flush())
            yield from stream.flush()

        # 4. Account.
        yield Finished(
            reason="stop" if ended or stream.stopped or (constraint and constraint.complete) else "length",
            usage=Usage(
                prompt_tokens=len(tokens),
                cached_tokens=cached,
                completion_tokens=made,
                drafted=sum(drafted for drafted, _ in passes),
                accepted=sum(kept for _, kept in passes),
            ),
            prefill_ms=(prefilled - started) * 1e3,
            decode_ms=(time.perf_counter() - prefilled) * 1e3,
        )

    def score(self, prompt: Prompt, candidates: Sequence[str]) -> list[Score]:
        rows = [self._tokenizer.encode(candidate) for candidate in candidates]
        tokens = self._prompt(prompt, max((len(row) for row in rows), default=0))
        hidden = _last(self._read(tokens))
        return [Score(total, len(row)) for total, row in zip(self._score(hidden, rows), rows, strict=True)]

    def save_prefix(self, prompt: Prompt, file: Path) -> None:
        tokens = self._prompt(prompt, 0)
        _last(self._read(tokens))
        layers = range(len(self._cache.storage))
        latents = torch.stack([self._cache.read(layer, self._pages, len(tokens)) for layer in layers])
        write_prefix(file, self._identity(), tokens, latents)

    @torch.inference_mode()
    def load_prefix(self, file: Path) -> int:
        tokens, latents = read_prefix(file, self._identity(), self._device)
        if len(tokens) > self._context:
            raise PromptTooLong(f"{file} holds {len(tokens)} tokens; the window is {self._context}.")
        for layer, own in enumerate(latents):
            self._cache.write(layer, torch.arange(len(tokens), device=self._device), own)
        self._held = tokens
        self._followed = len(tokens) - 1
        return len(tokens)

    def close(self) -> None:
        self._model = None
        self._cache = LatentCache(self._config, 0, self._dtype, self._device)
        self._held = []
        self._followed = 0

    # --- Reading

    def _prompt(self, prompt: Prompt, answer: int) -> list[int]:
        """Token ids of `prompt`, which with `answer` more fit the window."""
        self._loaded()
        tokens = self._tokenizer.prompt_ids(prompt)
        if not tokens:
            raise ModelError("The prompt is empty.", "Give at least one token.")
        if wrong := [token for token in tokens if not 0 <= token < self._config.vocab_size]:
            raise ModelError(f"Token {wrong[0]} is not in the vocabulary of {self._config.vocab_size}.")
        if len(tokens) + answer > self._context:
            raise PromptTooLong(
                f"{len(tokens)} tokens of prompt and {answer} of answer exceed the window of {self._context}.",
                "Shorten the prompt or ask for fewer tokens.",
            )
        return tokens

    def _reusable(self, tokens: Sequence[int]) -> int:
        """How many of `tokens` the cache holds already; at least the last is read again for its hidden state."""
        limit = min(len(self._held), len(tokens) - 1)
        common = next((n for n in range(limit) if self._held[n] != tokens[n]), limit)
        # The predictor knows each token with the one after it, so the last common one too is read again.
        return max(min(common - 1, self._followed), 0) if self._drafts else common

    def _read(self, tokens: list[int]) -> Generator[Prefilling, None, Tensor]:
        """Bring the cache to hold exactly `tokens`; the last one's hidden state [1, D]."""
        del self._held[self._reusable(tokens) :]
        while True:
            start = len(self._held)
            hidden = self._extend(tokens[start : start + self._chunk])
            if self._drafts and (after := tokens[start + 1 : start + 1 + len(hidden)]):
                reading = Reading(after, start, self._pages)
                follow(self._loaded(), self._cache, [reading], hidden[: len(after)])
                self._followed = start + len(after)
            yield Prefilling(len(self._held), len(tokens))
            if len(self._held) == len(tokens):
                return hidden[-1:]

    @torch.inference_mode()
    def _extend(self, tokens: list[int]) -> Tensor:
        """Read `tokens` after those held; their hidden states [T, D]."""
        with _threads(1 if self._decodes_alone and len(tokens) <= 1 + self._drafts else None):
            step = make_step([Reading(tokens, len(self._held), self._pages)], self._device)
            hidden = self._loaded().step(step, self._cache)
        self._held += tokens
        return hidden

    def _decode(self, hidden: Tensor, sampler: Sampler, passes: list[tuple[int, int]]) -> Iterator[Drawn]:
        """Draw tokens after those held, whose last hidden state [1, D] is given, and count what each pass brought."""
        drafts: list[int] = []
        left = sampler.sampling.max_tokens
        while left and not (sampler.constraint and sampler.constraint.complete):
            (found,) = verify(self._logits(hidden), [sampler], [drafts], self._ends)
            passes.append((len(drafts), len(found) - 1))
            # Drafts that were read but not kept are forgotten.
            del self._held[len(self._held) - len(drafts) + len(found) - 1 :]
            yield from found
            left -= len(found)
            tokens = [one.token for one in found]
            if left and tokens[-1] not in self._ends:
                room = min(left, self._context - len(self._held)) - 1
                drafts = self._draft(tokens, hidden[: len(tokens)], room)
                hidden = self._extend([tokens[-1], *drafts])

    def _draft(self, tokens: list[int], hidden: Tensor, room: int) -> list[int]:
        """At most `room` likely tokens after `tokens`; `hidden` [T, D] are of the positions before each of these."""
        count = min(self._drafts, room)
        if count < 1:
            return []
        reading = Reading(tokens, len(self._held) - len(tokens), self._pages)
        (drafts,) = draft(self._loaded(), self._cache, [reading], hidden, count, self._tokenizer.vocab_size)
        self._followed = len(self._held)
        return drafts

    def _loaded(self) -> DeepseekForCausalLM:
        if self._model is None:
            raise ModelError("The engine was closed.", "Open the model again.")
        return self._model

    def _identity(self) -> str:
        drafting = " with drafts" if self._drafts else ""  # the predictor has read the prefix as well
        return f"{fingerprint(self._folder, self._adapter)} {self._dtype}{drafting}"

    # --- Judging

    @torch.inference_mode()
    def _logits(self, hidden: Tensor) -> Tensor:
        # Embeddings may be padded beyond the tokenizer's vocabulary; such ids have no text.
        return self._loaded().logits(hidden)[:, : self._tokenizer.vocab_size]

    def _logprobs(self, drawn: Drawn) -> Logprobs:
        own, *likeliest = [
            TokenLogprob(self._tokenizer.decode([token]), logprob, token)
            for token, logprob in [(drawn.token, drawn.logprob), *drawn.likeliest]
        ]
        return Logprobs(own, tuple(likeliest))

    @torch.inference_mode()
    def _score(self, hidden: Tensor, rows: list[list[int]]) -> list[float]:
        """Log-probability of each row as the continuation of what is held, whose last hidden state is given."""
        model = self._loaded()
        first = model.logits(hidden)[0].float().log_softmax(-1).cpu()
        totals = [float(first[row[0]]) if row else 0.0 for row in rows]
        limit = min(_BRANCH_TOKENS, _BRANCH_SCORES // (self._config.num_attention_heads * max(len(self._held), 1)))
        for numbers in _batches([len(row) - 1 for row in rows], limit):
            lengths = [len(rows[number]) - 1 for number in numbers]
            fed = make_branches([rows[number][:-1] for number in numbers], len(self._held), self._pages, self._device)
            wanted = torch.tensor([token for number in numbers for token in rows[number][1:]], device=self._device)
            logits = model.logits(model.branch(fed, self._cache)).float()
            gains = logits.gather(1, wanted[:, None])[:, 0] - logits.logsumexp(-1)
            for number, own in zip(numbers, torch.split(gains.cpu(), lengths), strict=True):
                totals[number] += float(own.double().sum())
        return totals


def describe_folder(folder: Path, settings: ModelSettings, reference: str | None = None) -> EngineInfo:
    """What the engine will be once the checkpoint in `folder` is loaded; reads no weights.

    :raises UnsupportedArchitecture: the engine cannot run it.
    :raises BadCheckpoint: config.json or a file beside it is unreadable.
    """
    config = read_config(folder)
    device = choose_device(settings.device)
    total, active = count_parameters(config)
    computed = str(choose_dtype(settings.dtype, total, device)).removeprefix("torch.")
    name, adapter = str(read_card(folder).get("name") or folder.resolve().name), adapter_folder(settings)
    fp8 = "fp8" if device.type == "cuda" else f"fp8 read as {computed}"
    return EngineInfo(
        reference=reference if reference is not None else str(folder),
        name=name if adapter is None else f"{name} with {adapter.resolve().name}",
        engine="torch",
        architecture=config.architecture,
        context=choose_context(settings.context, config),
        quantization=fp8 if config.fp8_block else computed,
        devices=(str(device),),
        capabilities=read_capabilities(folder),
        total_parameters=total,
        active_parameters=active,
    )


def _batches(lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Indices of the positive lengths, in batches of at most `limit` together where one alone does not exceed it."""
    batch: list[int] = []
    size = 0
    for number, length in enumerate(lengths):
        if batch and size + length > limit:
            yield batch
            batch, size = [], 0
        if length > 0:
            batch.append(number)
            size += length
    if batch:
        yield batch


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Compute with `number` CPU threads, and with as many as before afterwards."""
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _last(reading: Generator[Prefilling, None, Tensor]) -> Tensor:
    """Run a reading to its end, for its result."""
    while True:
        try:
            next(reading)
        except StopIteration as finished:
            result: Tensor = finished.value
            return result
