"""Decoding over a selection of pages: exact where all are selected, and right about every page that it judges."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.cache import PAGE, LatentCache, token_bytes
from model.capacity import choose_capacity
from model.checkpoint import load_model
from model.config import read_config
from model.decoder_layer import DecoderLayer
from model.deepseek import DeepseekForCausalLM
from model.engine import Delta, Finished, Request, Sampling
from model.errors import BadCheckpoint, CannotSplit, UnfitSetting
from model.open import open_engine
from model.page_selection import PageSelection, selection_bytes
from model.runner import Runner
from model.settings import ModelSettings
from model.step import Reading, make_step
from model.torch_engine import TorchEngine
from tests.model.test_drafting import with_predictor

CPU = torch.device("cpu")
LENGTH = 10 * PAGE + 9
Make = Callable[..., tuple[Path, Any]]


@pytest.fixture(params=[2, 3])
def model(request: pytest.FixtureRequest, make_checkpoint: Make) -> DeepseekForCausalLM:
    return load_model(make_checkpoint(request.param)[0], torch.float32, CPU)


def tokens(length: int = LENGTH) -> list[int]:
    return torch.randint(0, 320, (length,), generator=torch.Generator().manual_seed(3)).tolist()


def new_cache(model: DeepseekForCausalLM, attended: int | None, fp8: bool = False, pages: int = 16) -> LatentCache:
    cache = LatentCache(model.config, pages, torch.float32, CPU, fp8)
    if attended is not None:
        cache.selection = PageSelection(model.config, pages, torch.float32, CPU, attended)
    return cache


def read(
    model: DeepseekForCausalLM, cache: LatentCache, prompt: int, decoded: Sequence[int], seed: int | None = 4
) -> Tensor:
    """Hidden states of `tokens`: the first `prompt` at once, then steps of `decoded` tokens of an answer."""
    pages = list(range(16)) if seed is None else random.Random(seed).sample(range(16), 16)
    row, held = tokens(), prompt
    states = [model.step(make_step([Reading(row[:prompt], 0, pages)], CPU), cache)]
    for count in decoded:
        states.append(model.step(make_step([Reading(row[held : held + count], held, pages, True)], CPU), cache))
        held += count
    return torch.cat(states)


def worst(got: Tensor, expected: Tensor) -> float:
    largest = ((got - expected).abs().max() / expected.std()).item()
    print(f"largest difference {largest:.1e} standard deviations")
    return largest


@torch.inference_mode()
@pytest.mark.parametrize("seed", [None, 4], ids=["consecutive", "shuffled"])
def test_where_all_pages_are_attended_to_nothing_changes(model: DeepseekForCausalLM, seed: int | None) -> None:
    plain = read(model, new_cache(model, None), 600, [1] * 49, seed)
    assert torch.equal(read(model, new_cache(model, 11), 600, [1] * 49, seed), plain)
    assert not torch.equal(read(model, new_cache(model, 10), 600, [1] * 49, seed), plain)


@torch.inference_mode()
def test_prompts_are_read_exactly(model: DeepseekForCausalLM) -> None:
    assert torch.equal(read(model, new_cache(model, 4), LENGTH, []), read(model, new_cache(model, None), LENGTH, []))


@torch.inference_mode()
def test_what_was_drafted_changes_nothing(model: DeepseekForCausalLM) -> None:
    alone = read(model, new_cache(model, 5), 600, [1] * 48)
    assert worst(read(model, new_cache(model, 5), 600, [3, 1, 8, 4] * 3), alone) < 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("fp8", [False, True])
def test_no_score_exceeds_the_bound_of_its_page(make_checkpoint: Make, fp8: bool) -> None:
    model = load_model(make_checkpoint(3, kv_lora_rank=128)[0], torch.float32, CPU)
    cache = new_cache(model, 4, fp8)
    read(model, cache, LENGTH, [], seed=None)
    query = torch.randn(4, model.config.latent_dim, generator=torch.Generator().manual_seed(1))
    assert cache.selection is not None
    for layer in range(model.config.num_hidden_layers):
        scores = torch.matmul(query, cache.read(layer, range(10), 10 * PAGE).T).unflatten(1, (10, PAGE)).amax(-1)
        bounds = cache.selection.bounds(layer, query, range(10))  # [H, M]
        print(f"layer {layer}: bounds exceed the greatest score by {(bounds - scores).min():.2f} at least")
        assert bool((bounds >= scores - 1e-4).all())
        # Pages are told apart: a bound of all pages together would hold, too, and be of no use.
        assert bool((bounds.std(-1) > 0).all())


@torch.inference_mode()
def test_a_token_attends_to_exactly_the_pages_that_it_chose(
    model: DeepseekForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[tuple[int, tuple[int, ...], int]] = []
    narrow = PageSelection.narrow

    def noted(self: PageSelection, layer: int, query: Tensor, pages: Sequence[int], total: int) -> Any:
        chosen.append((layer, *narrow(self, layer, query, pages, total)))
        return chosen[-1][1:]

    cache = new_cache(model, 6)
    attention = next(one for one in model.modules() if isinstance(one, DecoderLayer)).self_attn
    read(model, cache, LENGTH, [])
    monkeypatch.setattr(PageSelection, "narrow", noted)
    pages = random.Random(4).sample(range(16), 16)
    step = make_step([Reading([5], LENGTH, pages, True)], CPU)
    x = torch.randn(1, model.config.hidden_size, generator=torch.Generator().manual_seed(2))
    rope = model.model.rotary_emb(step.positions)
    got = attention.read(x, rope, step, cache)
    [(layer, kept, total)] = chosen
    assert (layer, len(kept), total) == (0, 6, 5 * PAGE + LENGTH % PAGE + 1)
    assert kept[0] == pages[0] and kept[-2:] == tuple(pages[9:11])
    assert [pages.index(page) for page in kept] == sorted(pages.index(page) for page in kept)
    # The slow plain form: keys and values of every head, of these tokens only.
    q_nope, q_rope = attention.queries(x, rope)
    key, value = attention._expand(torch.cat([cache.read(0, [page], PAGE) for page in kept])[:total])
    scores = torch.einsum("shd,thd->hst", torch.cat([q_nope, q_rope], dim=-1), key) * attention.scale
    expected = attention.o_proj(torch.einsum("hst,thv->shv", scores.softmax(-1), value).flatten(1))
    assert worst(got, expected) < 1e-4


@torch.inference_mode()
def test_the_page_that_holds_what_a_query_looks_for_is_chosen(model: DeepseekForCausalLM) -> None:
    cache = new_cache(model, 4)
    assert cache.selection is not None
    generator = torch.Generator().manual_seed(6)
    query = torch.randn(4, model.config.latent_dim, generator=generator)
    for sought in range(1, 8):
        rows = torch.randn(10 * PAGE, model.config.latent_dim, generator=generator)
        rows[sought * PAGE + 17] = 5 * query[sought % 4]
        cache.fill(1, range(10), rows)
        assert cache.selection.narrow(1, query, range(10), 10 * PAGE) == ((0, sought, 8, 9), 4 * PAGE)


# --- Whoever had the page before


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the number of full pages at each choice, all of which must have their own extremes."""
    sizes: list[int] = []
    caches: list[LatentCache] = []
    narrow, init = PageSelection.narrow, LatentCache.__init__

    def made(self: LatentCache, *arguments: Any) -> None:
        init(self, *arguments)
        caches.append(self)

    def compared(self: PageSelection, layer: int, query: Tensor, pages: Sequence[int], total: int) -> Any:
        cache = next(one for one in caches if one.selection is self)
        full = list(pages[: total // PAGE])
        if full:
            latents = cache.read(layer, full, len(full) * PAGE).view(len(full), PAGE, -1)
            assert torch.equal(self._extremes[layer, full, 0], latents.amax(1))
            assert torch.equal(self._extremes[layer, full, 1], latents.amin(1))
        sizes.append(len(full))
        return narrow(self, layer, query, pages, total)

    monkeypatch.setattr(LatentCache, "__init__", made)
    monkeypatch.setattr(PageSelection, "narrow", compared)
    return sizes


def finish(engine: TorchEngine, prompts: Sequence[str], length: int = 20) -> list[str]:
    texts = [""] * len(prompts)
    requests = [Request(prompt, Sampling(max_tokens=length)) for prompt in prompts]
    for number, event in engine.generate_all(requests):
        if isinstance(event, Delta):
            texts[number] += event.text
    return texts


def prompt(seed: int, length: int) -> str:
    return "".join(random.Random(seed).choice("the old harbour ") for _ in range(length))


@pytest.mark.parametrize("changes", [{}, {"cache_type": "fp8"}], ids=["float32", "fp8"])
def test_pages_that_are_shared_copied_given_up_and_taken_again_have_their_own_extremes(
    make_checkpoint: Make, checked: list[int], changes: dict[str, Any]
) -> None:
    engine = TorchEngine(make_checkpoint(3, kv_lora_rank=128)[0], ModelSettings(attended_pages=4, **changes))
    engine._blocks.__init__(12)  # type: ignore[misc]  # fewer pages than are asked for
    common = prompt(1, 340)
    for turn in range(2):
        finish(engine, [f"{common} {turn}", prompt(turn, 250), f"{common[: 310 + turn]}?", prompt(9, 120)])
    assert max(checked) >= 5


def test_drafts_that_are_taken_back_leave_nothing(make_checkpoint: Make, tmp_path: Path, checked: list[int]) -> None:
    folder = with_predictor(make_checkpoint(3)[0], tmp_path / "model", 0.6)
    engine = TorchEngine(folder, ModelSettings(attended_pages=4, speculate=3))
    events = list(engine.generate(Request(prompt(1, 310), Sampling(max_tokens=80))))
    assert isinstance(events[-1], Finished)
    usage = events[-1].usage
    assert 0 < usage.accepted < usage.drafted
    assert max(checked) >= 6


def test_a_prompt_chooses_no_pages_even_where_only_its_last_token_is_read(checkpoint: Path, checked: list[int]) -> None:
    engine = TorchEngine(checkpoint, ModelSettings(attended_pages=4))
    for _ in range(2):  # the second time, the prompt is found in the cache
        engine.score(prompt(1, 400), ["yes", "no"])
        finish(engine, [prompt(1, 400)], length=1)
    assert not checked
    finish(engine, [prompt(1, 400)], length=2)
    assert checked == [6] * 3


def test_restored_pages_have_their_extremes(checkpoint: Path, tmp_path: Path, checked: list[int]) -> None:
    settings = ModelSettings(attended_pages=4)
    text = prompt(1, 400)
    first = TorchEngine(checkpoint, settings)
    expected = finish(first, [text])
    first.save_prefix(text, tmp_path / "prefix")
    second = TorchEngine(checkpoint, settings)
    assert second.load_prefix(tmp_path / "prefix") == second.count_tokens(text)
    checked.clear()
    assert finish(second, [text]) == expected
    assert min(checked) >= 6
    # What an answer's tokens left in the cache depends on what they attended to.
    with pytest.raises(BadCheckpoint, match="another model"):
        TorchEngine(checkpoint, ModelSettings()).load_prefix(tmp_path / "prefix")


@torch.inference_mode()
def test_pages_that_come_from_another_rank_have_their_extremes(model: DeepseekForCausalLM) -> None:
    first, other = (Runner(model, torch.float32, CPU, attended_pages=4) for _ in range(2))
    for runner in (first, other):
        runner.open_cache(16, False)
    first.read([], [Reading(tokens(), 0, range(16))], False)
    for layer in range(model.config.num_hidden_layers):
        other.fill(layer, range(16), first.stored(layer, range(16), LENGTH))
    reading = Reading([5], LENGTH, range(16), True)
    assert torch.equal(other.read([], [reading], False), first.read([], [reading], False))


# --- The setting


def test_the_extremes_are_part_of_the_memory_that_a_cache_may_take(checkpoint: Path) -> None:
    config = read_config(checkpoint)
    page = token_bytes(config, torch.float32, False) * PAGE
    asked = ModelSettings(cache_gib=40 * page / (1 << 30), attended_pages=4)
    found = choose_capacity(config, asked, torch.float32, CPU, 0)
    assert found.pages == 40 * page // (page + selection_bytes(config, torch.float32)) < 40
    selection = PageSelection(config, 7, torch.float32, CPU, 4)
    assert selection._extremes.nbytes == 7 * selection_bytes(config, torch.float32)


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/v1#name", "model.gguf"])
def test_other_engines_refuse_to_select_pages(reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UnfitSetting, match=r"torch engine.*attended_pages"):
        open_engine(reference, ModelSettings(attended_pages=16))


def test_ranks_that_share_each_page_refuse_to_select_pages(checkpoint: Path) -> None:
    settings = ModelSettings(attended_pages=16, attention_layout="sequence", ranks=2, device="cpu")
    with pytest.raises(CannotSplit, match="attended_pages"):
        TorchEngine(checkpoint, settings)
