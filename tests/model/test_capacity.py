"""What fits: the window and the pages that memory allows, known before anything is read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from model.cache import PAGE, token_bytes
from model.capacity import checkpoint_bytes, choose_capacity
from model.checkpoint import load_model
from model.config import read_config
from model.engine import Request
from model.errors import ModelError, NotEnoughMemory
from model.saving import save_model
from model.settings import ModelSettings
from model.torch_engine import TorchEngine

Make = Callable[..., tuple[Path, Any]]


def test_a_window_that_does_not_fit_is_refused_before_loading(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.spread.load_model", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(NotEnoughMemory, match="512 tokens"):
        TorchEngine(checkpoint, ModelSettings(context=512, cache_gib=1e-5))


def test_a_cpu_gives_no_more_than_it_has(make_checkpoint: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(make_checkpoint(3, max_position_embeddings=65536)[0])
    cpu, window = torch.device("cpu"), token_bytes(config, torch.float32, False) * 65536
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": window // 4096 + 1, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert choose_capacity(config, ModelSettings(), torch.float32, cpu, 0).context == 65536
    assert choose_capacity(config, ModelSettings(), torch.float32, cpu, window // 2).context == 32768
    with pytest.raises(NotEnoughMemory):
        choose_capacity(config, ModelSettings(context=65536), torch.float32, cpu, window // 2)


def test_weights_take_what_their_files_do_where_they_stay_as_published(checkpoint: Path, tmp_path: Path) -> None:
    save_model(load_model(checkpoint, torch.float32, torch.device("cpu")), tmp_path, fp8_block=(128, 128))
    (tmp_path / "another.safetensors").write_bytes(b"of no index")
    config, file = read_config(tmp_path), tmp_path / "model.safetensors"
    kept = checkpoint_bytes(tmp_path, config, 1000, torch.bfloat16, torch.device("cuda"))
    assert kept == file.stat().st_size
    assert checkpoint_bytes(tmp_path, config, 1000, torch.bfloat16, torch.device("cpu")) == 2000
    plain = replace(config, fp8_block=None)
    assert checkpoint_bytes(tmp_path, plain, 1000, torch.bfloat16, torch.device("cuda")) == 2000


def test_the_window_follows_the_memory_where_none_is_asked_for(make_checkpoint: Make) -> None:
    folder = make_checkpoint(3, max_position_embeddings=65536)[0]
    config = read_config(folder)
    cpu = torch.device("cpu")
    whole = choose_capacity(config, ModelSettings(), torch.float32, cpu, 0)
    assert whole.context == 65536
    assert whole.pages * PAGE >= 65536
    engine = TorchEngine(folder, ModelSettings(cache_gib=0.001))
    assert engine.describe().context == 0.001 * 2**30 // (3 * 40 * 4 * PAGE) * PAGE
    with pytest.raises(ModelError):
        next(engine.generate(Request([5] * (engine.describe().context + 1))))
