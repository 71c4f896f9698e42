"""What the engine of GGUF models does beyond one answer: drafts, shelves, adapters, rotary settings, placement."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.engine import SESSION, Delta, Finished, Grammar, KeepsShelves, Request, Sampling
from model.errors import ModelError, UnsupportedAdapter, UnsupportedOperation
from model.lookup import Lookup
from model.settings import ModelSettings
from tests.model.gguf_files import TEXT, with_tokenizer

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (extra gguf)")
gguf = pytest.importorskip("gguf", reason="the gguf package is not installed (extra gguf)")

from model.gguf import export  # noqa: E402  after the skips
from model.llama_engine import LlamaEngine, _step  # noqa: E402
from model.llama_library import host_overrides, library  # noqa: E402
from model.llama_native import NativeModel  # noqa: E402
from model.plan.place import Placement  # noqa: E402

Make = Callable[..., tuple[Path, Any]]
SETTINGS = ModelSettings(threads=1, cache_type="f32", gpu_layers=0)
LONG = " ".join(TEXT[:3])  # some 200 tokens


@pytest.fixture(scope="module")
def file(make_checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = with_tokenizer(make_checkpoint(3)[0], tmp_path_factory.mktemp("llama") / "v3", 320)
    export(folder, folder.with_suffix(".gguf"))
    return folder.with_suffix(".gguf")


@pytest.fixture
def opened(file: Path) -> Iterator[Callable[..., LlamaEngine]]:
    engines: list[LlamaEngine] = []

    def make(shelves: Path | None = None, **settings: Any) -> LlamaEngine:
        engines.append(LlamaEngine(file, SETTINGS.model_copy(update=settings), shelves=shelves))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def run(engine: LlamaEngine, prompt: str, **sampling: Any) -> tuple[str, Finished]:
    *events, finished = engine.generate(Request(prompt, Sampling(**{"max_tokens": 24} | sampling)))
    assert isinstance(finished, Finished)
    return "".join(event.text for event in events if isinstance(event, Delta)), finished


def test_what_followed_before_is_drafted() -> None:
    lookup = Lookup([1, 2, 3, 4, 5, 6, 9, 2, 3, 4])
    assert lookup.draft(2) == [5, 6] and lookup.draft(9) == [5, 6, 9, 2, 3, 4]
    lookup.add(7)  # 2, 3, 4 now have two successors; the latest counts
    for token in (2, 3, 4):
        lookup.add(token)
    assert lookup.draft(1) == [7]
    assert Lookup([1, 2]).draft(4) == Lookup([1, 2, 3, 4]).draft(4) == []


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.8, "seed": 3}, {"repetition_penalty": 1.2}, {"logprobs": 2}]
)
def test_drafts_change_nothing_but_the_time(opened: Callable[..., LlamaEngine], sampling: dict[str, Any]) -> None:
    plain, drafting = opened(), opened(speculate=4)
    prompt = LONG + LONG
    text, usage = run(plain, prompt, max_tokens=60, **sampling)
    drafted, counted = run(drafting, prompt, max_tokens=60, **sampling)
    assert drafted == text
    assert counted.usage.completion_tokens == usage.usage.completion_tokens
    assert 0 <= counted.usage.accepted <= counted.usage.drafted
    again, _ = run(drafting, prompt + " And then", **sampling)  # nothing of the drafts is left in the cache
    assert again == run(plain, prompt + " And then", **sampling)[0]


def test_drafts_that_come_save_passes(opened: Callable[..., LlamaEngine]) -> None:
    engine = opened(speculate=4)
    told = "abcdefgh " * 6
    request = Request(told, Sampling(max_tokens=40), Grammar(f'root ::= "{told}"'))
    *events, finished = engine.generate(request)
    assert isinstance(finished, Finished) and finished.usage.accepted > 10
    assert told.startswith("".join(event.text for event in events if isinstance(event, Delta)))


def test_a_shelf_is_read_by_another_process_and_goes_with_its_label(
    opened: Callable[..., LlamaEngine], tmp_path: Path
) -> None:
    first = opened(tmp_path)
    assert isinstance(first, KeepsShelves)
    kept = first.shelve([LONG + " Who?", LONG + " When?"], "pinned")
    expected, _ = run(opened(), LONG + " Why?")
    second = opened(tmp_path)
    assert kept - 2 <= second.at_hand(LONG + " Why?") <= kept and second.at_hand("Something else") == 0
    text, finished = run(second, LONG + " Why?")
    assert text == expected and finished.usage.cached_tokens >= kept - 2
    second.shelve(["Other words " * 20], "pinned")
    assert opened(tmp_path).at_hand(LONG + " Why?") == 0
    with pytest.raises(UnsupportedOperation):
        opened().shelve(["x"], "pinned")


def test_a_damaged_shelf_is_read_again_by_the_model(opened: Callable[..., LlamaEngine], tmp_path: Path) -> None:
    opened(tmp_path).shelve([LONG], "pinned")
    next(tmp_path.glob("*.safetensors")).write_bytes(b"damaged" * 100)
    engine = opened(tmp_path)
    text, finished = run(engine, LONG + " Why?")
    assert finished.usage.cached_tokens == 0 and text == run(opened(), LONG + " Why?")[0]
    assert not list(tmp_path.glob("*.json"))


def test_a_conversation_is_kept_until_it_is_to_be_forgotten(opened: Callable[..., LlamaEngine], tmp_path: Path) -> None:
    first = opened(tmp_path, shelf_tokens=64)
    run(first, LONG)
    first.close()
    assert opened(tmp_path).at_hand(LONG) > 64
    second = opened(tmp_path, shelf_tokens=64)
    run(second, LONG + TEXT[3])
    second.forget_sessions()
    second.close()
    assert opened(tmp_path).at_hand(LONG) == 0 and SESSION


def test_another_cache_type_does_not_read_the_shelf(opened: Callable[..., LlamaEngine], tmp_path: Path) -> None:
    opened(tmp_path).shelve([LONG], "pinned")
    assert opened(tmp_path, cache_type="f16").at_hand(LONG) == 0


def test_an_adapter_gives_what_the_merged_model_gives(make_checkpoint: Make, file: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    generator = np.random.default_rng(0)
    name, rank, alpha = "model.layers.0.self_attn.o_proj.weight", 4, 8.0
    folder = with_tokenizer(make_checkpoint(3)[0], tmp_path / "merged", 320)
    weights = load_file(folder / "model.safetensors")
    rows, columns = weights[name].shape
    a, b = (generator.normal(0, 0.3, shape).astype(np.float32) for shape in ((rank, columns), (rows, rank)))
    weights[name] = weights[name] + alpha / rank * (b @ a)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    export(folder, tmp_path / "merged.gguf")
    writer = gguf.GGUFWriter(tmp_path / "adapter.gguf", "deepseek2")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for part, values in (("lora_a", a), ("lora_b", b)):
        writer.add_tensor(f"blk.0.attn_output.weight.{part}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    def score(file: Path, adapter: Path | None = None) -> float:
        engine = LlamaEngine(file, SETTINGS.model_copy(update={"adapter": adapter and str(adapter)}))
        try:
            return engine.score(TEXT[0], [TEXT[1]])[0].logprob
        finally:
            engine.close()

    adapted = score(file, tmp_path / "adapter.gguf")
    assert adapted == pytest.approx(score(tmp_path / "merged.gguf"), abs=1e-2) and abs(adapted - score(file)) > 0.1
    with pytest.raises(UnsupportedAdapter, match="cannot use"):
        score(file, file)
    with pytest.raises(UnsupportedAdapter, match=r"no \.gguf file"):
        score(file, tmp_path)


def test_rotary_settings_go_over_the_file(opened: Callable[..., LlamaEngine]) -> None:
    def logprob(**settings: Any) -> float:
        return opened(**settings).score(LONG, [" and then"])[0].logprob

    plain = logprob()
    assert logprob(rope_base=10000.0, rope_scale=16.0) == pytest.approx(plain, abs=1e-4)  # what the file says
    assert abs(logprob(rope_base=500.0) - plain) > 1e-3 < abs(logprob(rope_scale=1.0) - plain)


def test_experts_are_kept_in_host_memory_by_name(file: Path) -> None:
    native = library()
    rows = host_overrides(native, [r"blk\.1\.ffn_up_exps"])
    assert len(rows) == 2 and rows[0].pattern == rb"blk\.1\.ffn_up_exps" and rows[0].buft and rows[1].pattern is None
    # Without a GPU everything is there already; that the library takes the list and loads is what can be seen.
    model = NativeModel(file, context=256, placement=Placement(4, (4,), (1, 2)), cache_type="f16", threads=1)
    assert model.decode([1, 2, 3], 0).shape == (1, model.vocabulary)
    model.close()


def test_a_model_without_layers_on_gpus_is_told_of_no_gpu(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native = library()
    load, told = native.llama_model_load_from_file, []

    def seen(path: bytes, params: Any) -> Any:
        told.append(params.devices and ctypes.cast(params.devices, ctypes.POINTER(ctypes.c_void_p))[0] is None)
        return load(path, params)

    monkeypatch.setattr(native, "llama_model_load_from_file", seen)
    for placement in (Placement(), Placement(4, (4,))):
        model = NativeModel(file, context=256, placement=placement, cache_type="f16", threads=1)
        assert model.decode([1, 2, 3], 0).shape == (1, model.vocabulary)
        model.close()
    assert told == [True, None]  # an empty list, and llama.cpp's own choice


def test_a_slow_prompt_is_read_in_short_steps_unless_each_brings_weights_to_a_gpu(
    opened: Callable[..., LlamaEngine],
) -> None:
    slow = replace(opened(context=256).plan, batch=2048, prefill=100.0)
    assert _step(slow) == 100 and _step(replace(slow, prefill=1.0)) == 32 and _step(replace(slow, prefill=5e4)) == 2048
    assert _step(replace(slow, gpu_layers=3, host_layers=0)) == 100
    brought = replace(slow, gpu_layers=3, host_layers=0, host_experts=(1,)), replace(slow, gpu_layers=2, host_layers=1)
    assert [_step(one) for one in brought] == [2048, 2048]


def test_a_closed_stream_leaves_no_drafts(opened: Callable[..., LlamaEngine]) -> None:
    engine = opened(speculate=6)
    stream = engine.generate(Request(LONG + LONG, Sampling(max_tokens=50)))
    for _, _ in zip(range(6), stream, strict=False):
        pass
    stream.close()
    assert run(engine, TEXT[0])[0] == run(opened(), TEXT[0])[0]
    with pytest.raises(ModelError):
        engine.load_prefix(Path("absent"))


def test_chats_that_take_turns_keep_what_was_read(opened: Callable[..., LlamaEngine]) -> None:
    engine = opened()
    one, other = (text * 5 for text in (LONG, TEXT[3] + TEXT[2]))
    one, other = one[:600], other[:600]  # 300 to 400 tokens
    run(engine, one, max_tokens=4)
    run(engine, other, max_tokens=4)
    text, finished = run(engine, one + " And", max_tokens=4)
    assert finished.usage.cached_tokens > 250
    assert text == run(opened(), one + " And", max_tokens=4)[0]
    assert run(engine, other + " And", max_tokens=4)[1].usage.cached_tokens > 250
    engine.forget_sessions()
    assert run(engine, one, max_tokens=4)[1].usage.cached_tokens == 0


def test_the_stash_gives_up_what_was_used_least_recently(opened: Callable[..., LlamaEngine]) -> None:
    from model.llama_stash import Stash

    native = opened()._native
    native.decode([1, 2, 3], 0)
    size = native.state_bytes()
    stash = Stash(2 * size)
    long = [list(range(start, start + 400)) for start in (0, 1000, 2000)]
    for tokens in long:
        stash.put(tokens, native)
    assert stash.take(long[0], 0, native) is None and stash.take(long[2], 300, native) is None
    assert stash.take(long[2], 0, native) == long[2] and stash.take(long[2], 0, native) is None
    Stash(size - 1).put(long[0], native)  # too large to keep: no error
