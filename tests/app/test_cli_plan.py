"""`loci model plan` at the terminal."""

import json
from pathlib import Path

import pytest

from model.plan.machine import GIB, Machine, gpu
from model.plan.notes import Notes
from model.random_weights import SHAPES
from tests.app.cli_run import Run
from tests.model.plan.headers import gguf_header

pytest.importorskip("gguf", reason="the gguf package is not installed (extra gguf)")


def test_a_model_that_fits_is_planned_without_loading_it(
    loci: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.open.open_engine", lambda *_: pytest.fail("it was loaded"))
    file = gguf_header(SHAPES["v2-lite"], tmp_path / "lite.gguf", "IQ1_S")
    ran = loci("model", "plan", file, "--context", "4K", "--json")
    plan = ran.json
    assert ran.code == 0 and plan["fits"] and plan["context"] == 4096 and plan["attention"] == "MLA"
    host = plan["devices"][-1]
    assert host["total"] == sum(host[name] for name in ("weights", "cache", "compute", "runtime"))
    said = loci("model", "plan", file, "--context", "4K").out
    assert "Host memory holds" in said and "tokens/s of a prompt" in said


def test_a_model_that_does_not_fit_is_refused_with_exit_code_1(loci: Run, tmp_path: Path) -> None:
    ran = loci("model", "plan", gguf_header(SHAPES["v3"], tmp_path / "v3.gguf", "Q8_0"))
    assert ran.code == 1 and "It does not fit. The weights take" in ran.out


def test_a_window_that_is_no_number_is_refused(loci: Run) -> None:
    ran = loci("model", "plan", "embedded", "--context", "much")
    assert ran.code == 2 and "128K" in ran.err


def test_a_check_sets_what_was_measured_beside_the_plan(loci: Run, home: Path) -> None:
    plan = loci("model", "plan", "embedded", "--context", "1K", "--check", "--prompt", "128", "--json").json
    memory = next(one for one in plan["checked"] if one["unit"] == "bytes")
    assert memory["planned"] == pytest.approx(memory["measured"], rel=0.05)
    speeds = {one["what"]: one["measured"] for one in plan["checked"]}
    assert min(speeds["prompt"], speeds["answer"]) > 0
    notes = next(home.rglob("plans.json"))
    keys = json.loads(notes.read_text("utf-8"))
    assert any(Notes(notes).errors(key).decode != 1.0 for key in keys)


def test_models_that_fit_are_suggested(loci: Run) -> None:
    told = loci("model", "suggest", "--all", "--json").json
    assert len(told) >= 5 and all(("get" in one) == one["fits"] for one in told)
    shown = loci("model", "suggest", "--all").out
    assert all(one["name"] in shown for one in told)


@pytest.mark.parametrize("built", [True, False])
def test_gpus_that_the_library_cannot_use_make_no_suggestion(
    loci: Run, monkeypatch: pytest.MonkeyPatch, built: bool
) -> None:
    cards = (gpu("NVIDIA H100 80GB HBM3", 80 * GIB, 78 * GIB),) * 8
    machine = Machine(cards, 32 * GIB, 30 * GIB, 8, frozenset(), 5e10)
    monkeypatch.setattr("model.plan.machine.this_machine", lambda: machine)
    monkeypatch.setattr("model.plan.make.uses_gpus", lambda: built)
    ran = loci("model", "suggest")
    assert ("DeepSeek-V3.1 in" in ran.out) == built
    assert ("GGML_CUDA" in ran.err) != built
