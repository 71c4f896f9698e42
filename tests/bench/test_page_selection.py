"""What attending to a few pages costs and saves: hidden codes found, nats of ordinary text, tokens per second.

`python tests/bench/test_page_selection.py [FOLDER]`: the embedded model, on a CPU. Codes of eight places are hidden
among sentences of the sample library, or of the .txt files in FOLDER. Passages are read exactly; the question and the
answer are read token by token, over the selected pages only: harder than a conversation, where the question is part of
the prompt. Prompts have 30 pages: of longer ones the model answers little even with all pages. Rates are of random
weights of the same shape over 16K tokens of random latents.
"""

import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.cache import PAGE
from model.checkpoint import load_model
from model.config import Config, Yarn
from model.deepseek import DeepseekForCausalLM
from model.runner import Runner
from model.spanformat import BEGIN, span_prompt
from model.step import Reading
from model.tokenizer import Tokenizer

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / "data"
CPU = torch.device("cpu")
LEVELS = (1 << 20, 48, 32, 16, 8, 6, 4)
"""Attended pages, from all of them on."""
PLACES = "lighthouse harbour bakery mill library station brewery orchard quarry chapel foundry ferry".split()  # noqa: SIM905
CHUNK, LONG = 512, 16384


def test_a_quarter_of_the_pages_keeps_most_of_what_is_found() -> None:
    found, _ = quality(Runner(load_model(DATA / "model", torch.float32, CPU), torch.float32, CPU, False, 4), texts(), 6)
    assert found[8] >= 0.8 * found[LEVELS[0]] > 0


def texts(folder: Path | None = None) -> list[str]:
    files = sorted(folder.glob("*.txt")) if folder else sorted(DATA.glob("sample/*/*.md"))
    return [file.read_text("utf-8") for file in files]


def quality(runner: Runner, filler: Sequence[str], cases: int) -> tuple[dict[int, float], dict[int, float]]:
    """By attended pages: the part of `cases` codes that is found, and nats per token of the filler."""
    tokenizer = Tokenizer(DATA / "model")
    runner.open_cache(64, False)
    # 1. Codes.
    found = dict.fromkeys(LEVELS, 0.0)
    for seed in range(cases):
        question, passages, code = hide(filler, tokenizer, 1900, seed)
        prompt = tokenizer.encode(span_prompt(question, passages))
        asked = tokenizer.encode(f"Question: {question}\nAnswer:")
        start = len(prompt) - len(asked)
        read(runner, prompt[:start])
        for level in LEVELS:
            answer = decode(runner, level, start, prompt[start:], 12)[0]
            found[level] += (code in tokenizer.decode(answer)) / cases
    # 2. Text.
    words = tokenizer.encode(BEGIN + " ".join(" ".join(filler).split()))
    nats = dict.fromkeys(LEVELS, 0.0)
    windows = [words[first : first + 2048] for first in range(0, len(words) - 2047, 2048)][: cases // 4]
    for window in windows:
        read(runner, window[:1792])
        for level in LEVELS:
            nats[level] += decode(runner, level, 1792, window[1792:], 0)[1] / len(windows)
    return found, nats


def hide(filler: Sequence[str], tokenizer: Tokenizer, length: int, seed: int) -> tuple[str, list[str], str]:
    """A question, nine passages of about `length` tokens in all, and the code that answers it."""
    draw = random.Random(seed)
    sentences = re.split(r"(?<=\.)\s+", " ".join(" ".join(filler).split()))
    fitting = [one for one in sentences if 30 < len(one) < 200 and not re.search(r"\d", one)]
    passages: list[list[str]] = [[] for _ in range(9)]
    left = length - 150
    while left > 0:
        sentence = draw.choice(fitting)
        passages[draw.randrange(9)].append(sentence)
        left -= len(tokenizer.encode(f" {sentence}"))
    codes = {place: str(draw.randrange(1000, 10000)) for place in draw.sample(PLACES, 8)}
    for place, code in codes.items():
        passage = draw.choice(passages)
        passage.insert(draw.randrange(len(passage) + 1), f"The access code of the {place} is {code}.")
    asked = draw.choice(list(codes))
    return f"What is the access code of the {asked}?", [" ".join(one) for one in passages], codes[asked]


def read(runner: Runner, tokens: Sequence[int]) -> None:
    for start in range(0, len(tokens), CHUNK):
        runner.read([], [Reading(tokens[start : start + CHUNK], start, range(64))], False)


def decode(runner: Runner, attended: int, held: int, given: Sequence[int], count: int) -> tuple[list[int], float]:
    """`count` greedy tokens after the `given` ones, read one by one, and the mean nats of these but the first."""
    assert runner.cache.selection is not None
    runner.cache.selection.attended = attended
    made: list[int] = []
    nats = 0.0
    for number in range(len(given) + count):
        token = given[number] if number < len(given) else made[-1]
        hidden = runner.read([], [Reading([token], held + number, range(64), True)], False)
        logits = runner.logits(hidden)[0]
        if number + 1 < len(given):
            nats -= float(logits.log_softmax(-1)[given[number + 1]])
        else:
            made.append(int(logits.argmax()))
    return made, nats / (len(given) - 1)


@torch.inference_mode()
def rates(config: Config, tokens: int = 32) -> dict[int, float]:
    """Tokens per second after LONG tokens, by attended pages: the best of three tries."""
    config = replace(config, yarn=Yarn(8.0, 4096, mscale=1.0, mscale_all_dim=1.0), max_position_embeddings=2 * LONG)
    model = DeepseekForCausalLM(config)
    model.init_weights(torch.Generator().manual_seed(0))
    runner = Runner(model, torch.float32, CPU, attended_pages=4)
    pages = range(LONG // PAGE + 1)
    runner.open_cache(len(pages), False)
    assert runner.cache.selection is not None
    for layer in range(config.num_hidden_layers):
        runner.cache.fill(layer, pages, torch.randn(LONG, config.latent_dim))
    found = {}
    for level in LEVELS:
        runner.cache.selection.attended = level
        times = []
        for _ in range(3):
            started = time.perf_counter()
            for number in range(tokens):
                runner.logits(runner.read([], [Reading([5], LONG + number, pages, True)], False))
            times.append(time.perf_counter() - started)
        found[level] = tokens / min(times)
    return found


def main(folder: Path | None) -> None:
    torch.set_num_threads(1)
    runner = Runner(load_model(DATA / "model", torch.float32, CPU), torch.float32, CPU, attended_pages=4)
    found, nats = quality(runner, texts(folder), 32)
    speeds = rates(runner.model.config)
    print(f"pages  codes found  nats per token  tokens/s after {LONG:,}")
    for level in LEVELS:
        name = "all" if level == LEVELS[0] else level
        print(f"{name:>5}  {found[level]:11.1%}  {nats[level]:14.4f}  {speeds[level]:15.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
