"""A loaded GGUF model and its context, over llama.cpp's C interface (llama-cpp-python's ctypes layer).

The C interface is used instead of `llama_cpp.Llama` because that class hides what an engine needs: loading without the
extra CPU buffer types, prefill in steps, sequence rewinding and saved states. Knows nothing about chat or requests.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import BadCheckpoint, MissingExtra, ModelError

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]

_CACHE_TYPES: dict[CacheType, int] = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
"""GGML's numbers of the types (bf16 has no name in llama-cpp-python 0.3.36)."""

_log: list[str] = []
"""Warnings and errors that llama.cpp printed since the last load, newest last."""
_callbacks: list[Any] = []
"""Keeps the log callback alive for as long as the library may call it."""


class Stage(NamedTuple):
    """One sampler of a chain."""

    name: str
    """As in `llama_sampler_init_NAME`."""
    arguments: tuple[Any, ...] = ()
    seen: Sequence[int] = ()
    """Tokens that it takes note of beforehand."""


def _library() -> Any:
    """The ctypes module, initialised once, its log captured.

    :raises MissingExtra: llama-cpp-python is not installed.
    """
    try:
        import llama_cpp.llama_cpp as native  # 80 ms
    except ImportError as error:
        raise MissingExtra(
            "GGUF models need llama-cpp-python, which is not installed.",
            "Install it: pip install 'loci-assistant[gguf]' (it is compiled; a C++ compiler is needed).",
        ) from error
    if not _callbacks:

        @native.llama_log_callback  # type: ignore[untyped-decorator]  # ctypes makes it at run time
        def collect(level: int, text: bytes, _data: object) -> None:
            if level in (3, 4) and len(_log) < 100:  # warning, error
                _log.append(text.decode(errors="replace").strip())

        _callbacks.append(collect)
        native.llama_log_set(collect, None)
        native.llama_backend_init()
    return native


class NativeModel:
    """One model, one context with one sequence. Every array is NumPy; every failure a `ModelError`.

    :raises BadCheckpoint: llama.cpp cannot read the file, with its own words.
    :raises ModelError: there is no room for the context.
    """

    def __init__(
        self,
        file: Path,
        *,
        context: int | None,
        gpu_layers: int,
        cache_type: CacheType,
        threads: int,
        batch: int = 512,
    ) -> None:
        self.native = native = _library()
        self._model: Any = None
        self._context: Any = None
        self._batch: Any = None
        _log.clear()
        params = native.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        # AMX repacking aborts the process on quantised deepseek2 (llama.cpp#19184).
        params.use_extra_bufts = "amx" not in _cpu_flags()
        self._model = native.llama_model_load_from_file(str(file).encode(), params)
        if not self._model:
            raise BadCheckpoint(f"llama.cpp cannot read {file}: {'; '.join(_log[-3:]) or 'no reason given'}.")
        self.trained_context = int(native.llama_model_n_ctx_train(self._model))
        settings = native.llama_context_default_params()
        settings.n_ctx = context or min(self.trained_context, 16384)
        settings.n_batch = settings.n_ubatch = self.batch = batch
        # One type for both: latent attention keeps a single cache. Flash attention rounds to half precision; an exact
        # cache goes without it, a quantised one cannot.
        settings.type_k = settings.type_v = _CACHE_TYPES[cache_type]
        if cache_type == "f32":
            settings.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_DISABLED
        elif cache_type.startswith("q"):
            settings.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if threads:
            settings.n_threads = settings.n_threads_batch = threads
        self._context = native.llama_init_from_model(self._model, settings)
        if not self._context:
            reason = "; ".join(_log[-3:]) or "no reason given"
            self.close()
            raise ModelError(
                f"llama.cpp cannot make a context of {settings.n_ctx} tokens ({cache_type}) for {file}: {reason}.",
                "Ask for a shorter context or another cache type.",
            )
        self.context_length = int(native.llama_n_ctx(self._context))
        self._vocab = native.llama_model_get_vocab(self._model)
        self.vocabulary = int(native.llama_vocab_n_tokens(self._vocab))
        self._memory = native.llama_get_memory(self._context)
        self._batch = native.llama_batch_init(batch, 0, 1)

    def metadata(self, key: str) -> str | None:
        """A value of the file's metadata as text."""
        size = 1 << 16
        buffer = ctypes.create_string_buffer(size)
        length = self.native.llama_model_meta_val_str(self._model, key.encode(), buffer, size)
        return None if length < 0 else buffer.value.decode(errors="replace")

    @property
    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        self.native.llama_model_desc(self._model, buffer, 256)
        return buffer.value.decode(errors="replace")

    @property
    def parameters(self) -> int:
        return int(self.native.llama_model_n_params(self._model))

    @property
    def chat_template(self) -> str | None:
        template = self.native.llama_model_chat_template(self._model, None)
        return template.decode() if template else None

    @property
    def offloads(self) -> bool:
        """Whether this build can place layers on a GPU."""
        return bool(self.native.llama_supports_gpu_offload())

    def control_tokens(self) -> list[str]:
        """Texts of the tokens that steer the model; a document must not contain them."""
        found = (token for token in range(self.vocabulary) if self.native.llama_vocab_is_control(self._vocab, token))
        texts = (self.piece(token, special=True).decode(errors="replace") for token in found)
        return [text for text in texts if len(text) > 2]

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of `text` as it stands; `special` reads special tokens written in it as such."""
        data = text.encode()
        room = len(data) + 8
        tokens = (self.native.llama_token * room)()
        count = self.native.llama_tokenize(self._vocab, data, len(data), tokens, room, False, special)
        if count < 0:
            raise ModelError(f"llama.cpp cannot tokenise a text of {len(data)} bytes.")
        return list(tokens[:count])

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; control tokens are empty unless `special`."""
        buffer = ctypes.create_string_buffer(512)
        length = self.native.llama_token_to_piece(self._vocab, token, buffer, 512, 0, special)
        return buffer.raw[: max(length, 0)]

    def special_text(self, which: Literal["bos", "eos"]) -> str:
        """The text of the start or end token, for chat templates."""
        ask = self.native.llama_vocab_bos if which == "bos" else self.native.llama_vocab_eos
        token = ask(self._vocab)
        return "" if token < 0 else self.piece(token, special=True).decode(errors="replace")

    def ends(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return bool(self.native.llama_vocab_is_eog(self._vocab, token))

    def decode(self, tokens: Sequence[int], start: int, *, every: bool = False) -> NDArray[np.float32]:
        """Read at most `batch` tokens at positions `start`..; logits [1 or len(tokens), vocabulary] of the last or all.

        :raises ModelError: llama.cpp failed, with its own words.
        """
        batch = self._batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = every or index == len(tokens) - 1
        status = self.native.llama_decode(self._context, batch)
        if status != 0:
            raise ModelError(f"llama.cpp stopped with status {status}: {'; '.join(_log[-3:]) or 'no reason given'}.")
        rows = range(len(tokens)) if every else (len(tokens) - 1,)
        found = [
            np.ctypeslib.as_array(self.native.llama_get_logits_ith(self._context, row), shape=(self.vocabulary,))
            for row in rows
        ]
        return np.array(found, dtype=np.float32)

    def rewind(self, length: int) -> int:
        """Forget everything from position `length` on; the length kept, 0 where the model cannot rewind partly."""
        if self.native.llama_memory_seq_rm(self._memory, 0, length, -1):
            return length
        self.native.llama_memory_clear(self._memory, True)
        return 0

    def sampler(self, stages: Sequence[Stage], grammar: str | None) -> "Sampler":
        """A chain of llama.cpp's samplers, a GBNF grammar first."""
        return Sampler(self, stages, grammar)

    def save_state(self, tokens: Sequence[int], file: Path) -> None:
        """Write the cache of the tokens read so far.

        :raises ModelError: the file cannot be written.
        """
        array = (self.native.llama_token * len(tokens))(*tokens)
        written = self.native.llama_state_seq_save_file(self._context, str(file).encode(), 0, array, len(tokens))
        if not written:
            raise ModelError(f"llama.cpp cannot write {file}.", "Check the folder and the free space.")

    def load_state(self, file: Path, room: int = 0) -> list[int]:
        """Restore what `save_state` wrote; the list it was given, at most `room` longer than the context.

        :raises BadCheckpoint: the file is of another model or damaged.
        """
        room += self.context_length
        tokens = (self.native.llama_token * room)()
        count = ctypes.c_size_t(0)
        read = self.native.llama_state_seq_load_file(
            self._context, str(file).encode(), 0, tokens, room, ctypes.byref(count)
        )
        if not read:
            self.rewind(0)
            raise BadCheckpoint(f"{file} is not a saved state of this model.", "Delete it; it will be made again.")
        return list(tokens[: count.value])

    def close(self) -> None:
        if self._batch:
            self.native.llama_batch_free(self._batch)
        if self._context:
            self.native.llama_free(self._context)
        if self._model:
            self.native.llama_model_free(self._model)
        self._batch = self._context = self._model = None


class Sampler:
    """A llama.cpp sampler chain; `close` frees it."""

    def __init__(self, model: NativeModel, stages: Sequence[Stage], grammar: str | None) -> None:
        self._model = model
        self._native = native = model.native
        self._chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
        if grammar is not None:
            stage = native.llama_sampler_init_grammar(model._vocab, grammar.encode(), b"root")
            if not stage:
                self.close()
                raise ModelError("llama.cpp cannot parse the grammar.", "Check its syntax (GBNF with a rule `root`).")
            native.llama_sampler_chain_add(self._chain, stage)
        for name, arguments, seen in stages:
            made = getattr(native, f"llama_sampler_init_{name}")(*arguments)
            for token in seen:
                native.llama_sampler_accept(made, token)
            native.llama_sampler_chain_add(self._chain, made)

    def sample(self) -> int:
        """The next token after the last decode; the chain takes note of it."""
        return int(self._native.llama_sampler_sample(self._chain, self._model._context, -1))

    def close(self) -> None:
        self._native.llama_sampler_free(self._chain)


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
