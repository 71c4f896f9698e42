"""The embedded model through torch and, as an F32 GGUF, through llama.cpp: 50 prompts, 64 greedy tokens each.

python -m pytest -n 0 -s -m slow tests/bench/test_engine_parity.py
"""

from pathlib import Path

import pytest

from model.engine import Delta, Request, Sampling
from model.settings import ModelSettings

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (extra gguf)")

SETTINGS = ModelSettings(cache_type="f32", dtype="float32", gpu_layers=0)
TOKENS = 64
SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "tarnwick"


def prompts() -> list[str]:
    """50 beginnings of text: every paragraph of the sample library's Markdown, cut in its middle."""
    lines = [
        line
        for file in sorted(SAMPLE.glob("*.md"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if len(line) > 80 and not line.startswith("|")
    ]
    halves = [line[: len(line) // share].rsplit(" ", 1)[0] for share in (2, 3) for line in lines]
    assert len(halves) >= 50
    return halves[:50]


@pytest.mark.slow
def test_torch_and_llama_cpp_write_the_same_greedy_tokens(tmp_path: Path) -> None:
    from model.gguf import export
    from model.llama_engine import LlamaEngine
    from model.open import embedded_folder
    from model.torch_engine import TorchEngine

    folder = embedded_folder()
    export(folder, tmp_path / "embedded.gguf")
    torch_engine, llama = TorchEngine(folder, SETTINGS), LlamaEngine(tmp_path / "embedded.gguf", SETTINGS)

    def write(engine: TorchEngine | LlamaEngine, prompt: str) -> str:
        events = engine.generate(Request(prompt, Sampling(max_tokens=TOKENS)))
        return "".join(event.text for event in events if isinstance(event, Delta))

    same, gaps = 0, []
    for prompt in prompts():
        ours, theirs = write(torch_engine, prompt), write(llama, prompt)
        if ours == theirs:
            same += 1
            continue
        gap = top_two_gap(torch_engine, prompt, ours, theirs)
        gaps.append(gap)
        print(f"split after {prompt[-30:]!r}: gap of the top two {gap:.4f}")
    llama.close()
    print(f"{same} of {len(prompts())} prompts give the same {TOKENS} greedy tokens")
    assert same >= 45
    assert all(gap < 0.01 for gap in gaps), gaps


def top_two_gap(engine: object, prompt: str, ours: str, theirs: str) -> float:
    """Difference of the log-probabilities of the two tokens at which the texts part."""
    from model.torch_engine import TorchEngine

    assert isinstance(engine, TorchEngine)
    encode = engine._tokenizer.encode
    a, b = encode(ours), encode(theirs)
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)) - 1)
    shared = engine._tokenizer.decode(a[:at])
    scores = engine.score(prompt + shared, [engine._tokenizer.decode([a[at]]), engine._tokenizer.decode([b[at]])])
    return abs(scores[0].logprob - scores[1].logprob)
