"""What is learned from a batch: the pieces of the loss, the predictors, longer windows, and layers computed twice."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.checkpoint import load_model
from model.config import Config, Yarn, read_config
from model.deepseek import DeepseekForCausalLM
from model.saving import save_model
from model.train import objective
from model.train.evaluate import evaluate_text
from model.train.extension import extend
from model.train.objective import entropy, losses, same_document, shifted
from model.train.tokenizer import BEGIN_ID
from tests.model.train.conftest import RECIPE

pytestmark = pytest.mark.usefixtures("one_thread")
YARN = Yarn(factor=8.0, original_context=64, mscale=1.0, mscale_all_dim=1.0)


def made(config: Config | None = None) -> DeepseekForCausalLM:
    model = DeepseekForCausalLM(config or RECIPE.config())
    model.init_weights(torch.Generator().manual_seed(0))
    return model


def drawn(rows: int = 2, length: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 512, (rows, length + 1), generator=generator)
    return ids[:, :-1], ids[:, 1:], torch.rand(rows, length, generator=generator)


def test_the_loss_in_pieces_is_the_whole_one_with_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "PIECE", 10)  # the last of ten is smaller
    _, targets, weights = drawn()
    generator = torch.Generator().manual_seed(2)
    found = []
    for pieces in (True, False):
        generator.manual_seed(2)
        hidden = torch.randn(2, 48, 32, generator=generator).requires_grad_()
        head = torch.randn(512, 32, generator=generator).requires_grad_()
        if pieces:
            loss = entropy(hidden, head, targets, weights)
        else:
            every = F.cross_entropy((hidden @ head.T).flatten(0, 1), targets.flatten(), reduction="none")
            loss = (every * weights.flatten()).sum()
        (3 * loss).backward()
        found.append((loss.detach(), hidden.grad, head.grad))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_predictors_are_asked_for_the_token_after_the_next_one() -> None:
    model = made()
    inputs, targets, weights = drawn()
    part = losses(model, inputs, targets, weights)
    hidden, _ = model.hidden(inputs)
    logits = model.logits(model.draft_whole(0, targets, hidden))
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), reduction="none")
    torch.testing.assert_close(part.drafts, (expected * weights[:, 1:].flatten()).sum(), rtol=1e-5, atol=1e-4)
    assert part.counts is not None and part.counts.shape == (2, 4)  # one routed layer and one predictor
    assert part.counts.sum(1).tolist() == [inputs.numel() * 2] * 2
    part.drafts.backward()
    untouched = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert not untouched  # the main model learns from its predictors, too


def test_shifted_values_stand_one_position_earlier() -> None:
    assert shifted(torch.tensor([[1, 2, 3]])).tolist() == [[2, 3, 0]]


def test_documents_kept_apart_are_read_as_if_alone() -> None:
    model = made()
    ids, _, _ = drawn(1, 40)
    ids[0, 0] = ids[0, 25] = BEGIN_ID
    apart, _ = model.hidden(ids, mask=same_document(ids))
    alone, _ = model.hidden(ids[:, 25:], positions=torch.arange(25, 40))
    torch.testing.assert_close(apart[:, 25:], alone, rtol=1e-4, atol=1e-4)
    together, _ = model.hidden(ids)
    assert (together[:, 25:] - alone).abs().max() > 0.01


def test_layers_computed_again_leave_the_same_gradients() -> None:
    gradients = []
    for recompute in (False, True):
        model = made()
        model.recompute = recompute
        part = losses(model, *drawn())
        (part.text + part.drafts).backward()
        gradients.append({name: one.grad for name, one in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_an_extended_model_is_one_loaded_with_that_configuration(tmp_path: Path) -> None:
    model = made()
    ids, _, _ = drawn(1, 200)
    before, _ = model.hidden(ids)
    extend(model, 512, YARN)
    after, _ = model.hidden(ids)
    save_model(model, tmp_path, torch.float32)
    config = read_config(tmp_path)
    assert (config.max_position_embeddings, config.yarn) == (512, YARN)
    loaded, _ = load_model(tmp_path, torch.float32, torch.device("cpu")).hidden(ids)
    torch.testing.assert_close(loaded, after, rtol=1e-4, atol=1e-4)
    assert (after - before).abs().max() > 0.01
    assert model.model.layers[0].self_attn.scale == pytest.approx(YARN.softmax_factor / 12**0.5)


def test_drafts_that_the_model_would_write_itself_count_as_accepted() -> None:
    model = made(replace(RECIPE.config(), num_nextn_predict_layers=1))
    tokens = drawn(1, 600)[0][0].numpy().astype("uint16")
    assert evaluate_text(model, tokens, 64, 512)["draft_acceptance"] < 0.2
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()  # all logits alike: both choose the first entry
    assert evaluate_text(model, tokens, 64, 512)["draft_acceptance"] == 1.0
