"""Texts that a model in training continues, so that a person sees early what it learns."""

from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from model.deepseek import DeepseekForCausalLM
from model.spanformat import span_prompt
from model.train import invented
from model.train.tokenizer import BEGIN_ID, END_ID
from model.train.trainer import Sampler

_PROMPT, _CONTINUATION = 24, 32
"""Tokens."""


def make_sampler(tokenizer: Path, validation: NDArray[np.uint16]) -> Sampler:
    """Continues two held-out documents and answers a question about invented records, greedily."""
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(tokenizer))
    begins = np.flatnonzero(validation == BEGIN_ID)[:2]
    random = Random(5)
    table = invented.records(random)
    question, _ = invented.ask(table, 0, 0, random)
    asked = coder.encode(span_prompt(question, invented.as_rows(table, random)), add_special_tokens=False).ids
    prompts = [*(validation[start : start + _PROMPT].tolist() for start in begins), asked]

    def sample(model: DeepseekForCausalLM) -> list[dict[str, str]]:
        continued = [(prompt, greedy(model, prompt, _CONTINUATION)) for prompt in prompts]
        return [{"prompt": coder.decode(one), "continuation": coder.decode(text)} for one, text in continued]

    return sample


@torch.no_grad()
def greedy(model: DeepseekForCausalLM, prompt: list[int], count: int) -> list[int]:
    """At most `count` tokens after `prompt`, up to the end of the document; every step reads it all again."""
    device = next(model.parameters()).device
    ids = list(prompt)
    while len(ids) < len(prompt) + count:
        hidden, _ = model.hidden(torch.tensor([ids], device=device))
        best = int(model.logits(hidden[0, -1]).argmax())
        if best == END_ID:
            break
        ids.append(best)
    return ids[len(prompt) :]
