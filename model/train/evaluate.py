"""Measures a model on held-out text, and on question rows of groups that training never saw."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.deepseek import DeepseekForCausalLM
from model.train.corpus import read_dropped
from model.train.needles import NeedleStream
from model.train.row_files import Row, encode_rows, load_rows
from model.train.rows import KINDS, Builder, rows

_UNDRAWN = 10**9
"""A position that no training reaches: the text around needles is known there, the facts are not."""


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Probability that a random positive scores above a random negative (ties count half); Hanley and McNeil, 1982."""
    scores = np.array([*positive, *negative])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    n = len(positive)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / max(n * len(negative), 1))


@torch.no_grad()
def evaluate_text(model: DeepseekForCausalLM, tokens: NDArray[np.uint16], length: int, limit: int) -> dict[str, float]:
    """Held-out text, at most `limit` tokens in windows of `length`: nats per token, and what drafts are worth.

    A draft of the first predictor counts as accepted where it is the main model's own greedy choice, the right text
    standing before both.
    """
    device = next(model.parameters()).device
    count, rows = min(limit, len(tokens) - 1) // length, max(32_768 // length, 1)
    nats, agreed = 0.0, 0
    with torch.compiler.set_stance("force_eager"):  # too few batches to pay for a compilation
        for first in range(0, count, rows):
            size = min(rows, count - first)
            both = tokens[first * length : (first + size) * length + 1].astype(np.int64)
            ids = torch.from_numpy(both).to(device)
            inputs, targets = ids[:-1].view(size, length), ids[1:].view(size, length)
            hidden, _ = model.hidden(inputs)
            drafts = model.draft_whole(0, targets, hidden) if len(model.mtp) else None
            for row in range(size):  # logits of one window at a time
                logits = model.logits(hidden[row]).float()  # [S, V]
                nats += float(F.cross_entropy(logits, targets[row], reduction="sum"))
                if drafts is not None:
                    guesses = model.logits(drafts[row]).argmax(-1)
                    agreed += int((guesses[:-1] == logits.argmax(-1)[1:]).sum())
    found = {"validation_nats_per_token": round(nats / max(count * length, 1), 4)}
    return found | ({"draft_acceptance": round(agreed / max(count * (length - 1), 1), 4)} if len(model.mtp) else {})


@torch.no_grad()
def evaluate_needles(model: DeepseekForCausalLM, stream: NeedleStream, batches: int) -> dict[str, float]:
    """Answers in rows that training did not draw: the share that greedy decoding would give word for word."""
    device = next(model.parameters()).device
    answers = found = 0
    with torch.compiler.set_stance("force_eager"):
        for number in range(batches):
            batch = stream.batch(_UNDRAWN + number)
            for inputs, targets, weights in zip(batch.inputs, batch.targets, batch.weights, strict=True):
                wanted = np.flatnonzero(weights > 1)  # text has weight 1, facts and questions none
                hidden, _ = model.hidden(torch.from_numpy(inputs).to(device)[None])
                best = model.logits(hidden[0, torch.from_numpy(wanted).to(device)]).argmax(-1).cpu().numpy()
                right = best == targets[wanted]
                runs = np.split(right, np.flatnonzero(np.diff(wanted) > 1) + 1) if len(wanted) else []
                answers, found = answers + len(runs), found + sum(bool(run.all()) for run in runs)
    return {"needle_answers": answers, "needles_found": round(found / max(answers, 1), 4)}


@torch.no_grad()
def evaluate_answers(model: DeepseekForCausalLM, held_out: Path, most: int = 200) -> dict[str, float]:
    """Of the first `most` rows of each part of a held-out rows folder, the share whose answer greedy decoding would
    give word for word, its passage's number or the refusal included: `held_out_real`, `held_out_text`, ..."""
    device = next(model.parameters()).device
    found = {}
    with torch.compiler.set_stance("force_eager"):
        for kind, (tokens, index) in zip(KINDS, load_rows(held_out), strict=True):
            right = 0
            for start, answer, end in index[:most]:
                ids = torch.from_numpy(tokens[start:end].astype(np.int64)).to(device)[None]
                hidden, _ = model.hidden(ids[:, :-1])
                said = model.logits(hidden[0, answer - start - 1 :]).argmax(-1)
                right += int((said == ids[0, answer - start :]).all())
            found[f"held_out_{kind}"] = round(right / max(min(len(index), most), 1), 4)
    return found


def evaluate_rows(
    model: DeepseekForCausalLM, corpus: Path, tokenizer: Path, count: int = 3000, seed: int = 9
) -> dict[str, dict[str, float]]:
    """Per kind of row: right passage (among those shown, where one answers), the answer as greedy decoding would give
    it word for word, nats of the whole answer, and how well P(0) tells unanswerable from answerable rows."""
    builder = Builder(corpus, corpus / "validation.txt.xz", held_out=True, dropped=read_dropped(tokenizer))
    kinds = {
        "real questions": builder._real,
        "made from sentences": builder._from_text,
        "invented records": builder._invented,
    }
    results = {}
    for number, (kind, draw) in enumerate(kinds.items()):
        builder.row = draw  # type: ignore[method-assign]  # one kind at a time
        drawn = [row for row in rows(builder, seed + number, count // len(kinds)) if len(row.prompt) < 6000]
        with torch.compiler.set_stance("force_eager"):  # every row has a length of its own
            results[kind] = _measure(model, drawn, tokenizer)
    return results


@torch.no_grad()
def _measure(model: DeepseekForCausalLM, drawn: list[Row], tokenizer: Path) -> dict[str, float]:
    from tokenizers import Tokenizer

    opening = Tokenizer.from_file(str(tokenizer)).encode(" [", add_special_tokens=False).ids
    digits = [Tokenizer.from_file(str(tokenizer)).token_to_id(str(digit)) for digit in range(10)]
    measured = right = exact = answerable = 0
    nats: list[float] = []
    refusals: tuple[list[float], list[float]] = ([], [])
    device = next(model.parameters()).device
    for row in drawn:
        tokens, index = encode_rows([row], tokenizer)
        if not len(index):  # too long to have been trained on
            continue
        measured += 1
        answer = int(index[0, 1])
        ids = torch.from_numpy(tokens.astype(np.int64)).to(device)[None]
        hidden, _ = model.hidden(ids[:, :-1])
        logp: Tensor = model.logits(hidden[0, answer - 1 :]).float().log_softmax(-1)  # [answer tokens, V]
        targets = ids[0, answer:]
        numbers = logp[len(opening), digits][: len(row.passages) + 1]
        refusals[0 if row.gold == 0 else 1].append(float(numbers[0] - numbers[1:].logsumexp(0)))
        if row.gold:
            answerable += 1
            right += int(numbers[1:].argmax()) + 1 == row.gold
            exact += bool((logp.argmax(-1) == targets)[:-1].all())
            nats.append(-float(logp.gather(-1, targets[:, None]).sum()))
    return {
        "rows": measured,
        "right_passage": round(right / max(answerable, 1), 4),
        "exact": round(exact / max(answerable, 1), 4),
        "answer_nats": round(math.fsum(nats) / max(len(nats), 1), 3),
        "refusal_auroc": round(auroc(*refusals), 4),
    }
