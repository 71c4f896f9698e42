"""A loaded GGUF model and its context, over llama.cpp's C interface (llama-cpp-python's ctypes layer).

The C interface is used instead of `llama_cpp.Llama` because that class hides what an engine needs: loading without the
extra CPU buffer types, prefill in steps, sequence rewinding and saved states. Knows nothing about chat or requests.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import BadCheckpoint, ModelError, UnsupportedAdapter
from model.llama_library import allocated, forget, host_overrides, library, wants_plain_buffers, words
from model.plan.place import Placement

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0"]

_CACHE_TYPES: dict[CacheType, int] = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8, "bf16": 30}
"""GGML's numbers of the types (bf16 has no name in llama-cpp-python 0.3.36)."""


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary settings that go over the file's own; None leaves what the file says."""

    base: float | None = None
    scale: float | None = None
    """times which positions are stretched; 1 is none"""

    def apply(self, native: Any, settings: Any) -> None:
        """Set them in llama.cpp's context parameters."""
        if self.base is not None:
            settings.rope_freq_base = self.base
        if self.scale is not None:
            settings.rope_freq_scale = 1 / self.scale
            scaled = native.LLAMA_ROPE_SCALING_TYPE_YARN if self.scale > 1 else native.LLAMA_ROPE_SCALING_TYPE_NONE
            settings.rope_scaling_type = scaled


class Stage(NamedTuple):
    """One sampler of a chain."""

    name: str
    """As in `llama_sampler_init_NAME`."""
    arguments: tuple[Any, ...] = ()
    seen: Sequence[int] = ()
    """Tokens that it takes note of beforehand."""


class NativeModel:
    """One model, one context with one sequence. Every array is NumPy; every failure a `ModelError`.

    :raises BadCheckpoint: llama.cpp cannot read the file, with its own words.
    :raises ModelError: there is no room for the context.
    """

    def __init__(
        self,
        file: Path,
        *,
        context: int,
        placement: Placement,
        cache_type: CacheType,
        threads: int,
        batch: int = 512,
        adapter: Path | None = None,
        rope: Rope | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """`progress` is told the share that is loaded; what it raises stops the loading and is raised here."""
        self.native = native = library()
        self._model: Any = None
        self._context: Any = None
        self._batch: Any = None
        self._adapter: Any = None
        forget()
        self._load(file, placement, progress)
        settings = native.llama_context_default_params()
        settings.n_ctx = context
        settings.n_batch = settings.n_ubatch = self.batch = batch
        # One type for both: latent attention keeps a single cache. Flash attention rounds to half precision; an exact
        # cache goes without it, a quantised one cannot.
        settings.type_k = settings.type_v = _CACHE_TYPES[cache_type]
        if cache_type == "f32":
            settings.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_DISABLED
        elif cache_type.startswith("q"):
            settings.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_ENABLED
        (rope or Rope()).apply(native, settings)
        settings.n_threads = settings.n_threads_batch = threads
        self._context = native.llama_init_from_model(self._model, settings)
        if not self._context:
            reason = words()
            self.close()
            raise ModelError(
                f"llama.cpp cannot make a context of {settings.n_ctx} tokens ({cache_type}) for {file}: {reason}.",
                "Ask for a shorter context or another cache type.",
            )
        if adapter is not None:
            self._adapt(adapter)
        self.allocated = allocated()
        self.context_length = int(native.llama_n_ctx(self._context))
        self._vocab = native.llama_model_get_vocab(self._model)
        self.vocabulary = int(native.llama_vocab_n_tokens(self._vocab))
        self._memory = native.llama_get_memory(self._context)
        self._batch = native.llama_batch_init(batch, 0, 1)

    def _load(self, file: Path, placement: Placement, progress: Callable[[float], None] | None) -> None:
        native = self.native
        params = native.llama_model_default_params()
        params.n_gpu_layers = placement.gpu_layers
        params.use_extra_bufts = not wants_plain_buffers()
        kept: list[Any] = []  # what the library reads while it loads
        if not placement.gpu_layers:
            # Told of no devices: it would compute prompts on GPUs all the same, and take memory there for it.
            none = (ctypes.c_void_p * 1)(None)
            params.devices = ctypes.cast(none, ctypes.c_void_p)
            kept.append(none)
        if sum(placement.layers_of_gpus):
            shares = (ctypes.c_float * native.llama_max_devices())(*map(float, placement.layers_of_gpus))
            params.tensor_split = ctypes.cast(shares, ctypes.POINTER(ctypes.c_float))
            kept.append(shares)
        if placement.host_experts:
            patterns = [rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_exps" for layer in placement.host_experts]
            overrides = host_overrides(native, patterns)
            params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
            kept.append(overrides)
        raised: list[BaseException] = []
        if progress is not None:

            @native.llama_progress_callback  # type: ignore[untyped-decorator]  # ctypes makes it at run time
            def moved(share: float, _data: object) -> bool:
                try:
                    progress(share)
                except BaseException as error:  # noqa: BLE001  C would swallow it; Ctrl-C, too, is raised in here
                    raised.append(error)
                return not raised

            params.progress_callback = moved
            kept.append(moved)
        self._model = native.llama_model_load_from_file(str(file).encode(), params)
        if raised:
            raise raised[0]
        if not self._model:
            raise BadCheckpoint(f"llama.cpp cannot read {file}: {words()}.")

    def _adapt(self, adapter: Path) -> None:
        """Add a LoRA adapter in GGUF form, at full strength.

        :raises UnsupportedAdapter: it is of another model, or no adapter.
        """
        native = self.native
        self._adapter = native.llama_adapter_lora_init(self._model, str(adapter).encode())
        if self._adapter:
            adapters = (native.llama_adapter_lora_p_ctypes * 1)(self._adapter)
            if native.llama_set_adapters_lora(self._context, adapters, 1, (ctypes.c_float * 1)(1.0)) == 0:
                return
        reason = words()
        self.close()
        raise UnsupportedAdapter(
            f"llama.cpp cannot use the adapter {adapter}: {reason}.",
            "Give a LoRA adapter that was converted to GGUF for this model.",
        )

    @property
    def chat_template(self) -> str | None:
        template = self.native.llama_model_chat_template(self._model, None)
        return template.decode() if template else None

    @property
    def rewinds(self) -> bool:
        """Whether the last tokens can be taken back; a recurrent state cannot be rewound."""
        native, model = self.native, self._model
        return not (native.llama_model_is_recurrent(model) or native.llama_model_is_hybrid(model))

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
            raise ModelError(f"llama.cpp stopped with status {status}: {words()}.")
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

    def state_bytes(self) -> int:
        """What `copy_state` would take now."""
        return int(self.native.llama_state_seq_get_size(self._context, 0))

    def copy_state(self) -> bytes:
        """The cache's content as bytes, for `restore_state` of this very context."""
        size = self.state_bytes()
        buffer = (ctypes.c_uint8 * size)()
        written = self.native.llama_state_seq_get_data(self._context, buffer, size, 0)
        return bytes(memoryview(buffer)[:written])

    def restore_state(self, state: bytes) -> bool:
        """Put back what `copy_state` gave; where that fails the cache is empty."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        self.native.llama_memory_clear(self._memory, False)
        if self.native.llama_state_seq_set_data(self._context, buffer, len(state), 0):
            return True
        self.rewind(0)
        return False

    def close(self) -> None:
        if self._batch:
            self.native.llama_batch_free(self._batch)
        if self._context:
            self.native.llama_free(self._context)
        if self._adapter:
            self.native.llama_adapter_lora_free(self._adapter)
        if self._model:
            self.native.llama_model_free(self._model)
        self._batch = self._context = self._adapter = self._model = None


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

    def sample(self, row: int = -1) -> int:
        """The next token after a row of the last decode (-1: its last); the chain takes note of it."""
        return int(self._native.llama_sampler_sample(self._chain, self._model._context, row))

    def close(self) -> None:
        self._native.llama_sampler_free(self._chain)
