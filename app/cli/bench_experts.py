"""`loci model bench --experts`: which experts serve which kind of text, and what skipping the weak ones does."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli.door import note, print_json, say, table

if TYPE_CHECKING:
    from app.workspace import Workspace

_TOKENS = 4096
"""At most so many tokens of each domain are read."""
_SHOWN = 20
"""Specialists in the table."""


def bench_experts(
    opened: "Workspace",
    texts: Sequence[Path],
    collections: Sequence[str],
    thresholds: Sequence[float],
    plot: Path | None,
    as_json: bool,
) -> None:
    """Map and judge the model in use.

    :raises BadInput: it is none that the torch engine loads, or a text cannot be read.
    :raises NotEnoughMemory: one device and the host's memory together do not hold it.
    """
    from app.errors import BadInput
    from model.checkpoint import load_model  # torch, 2 s
    from model.config import read_config
    from model.expert_map import domain_use, specialists, try_skipping
    from model.layout import choose_layout
    from model.open import resolve
    from model.placement import adapter_folder, choose_device, choose_dtype, count_parameters
    from model.tokenizer import Tokenizer

    settings = opened.settings.model
    found = resolve(settings.reference)
    if found.engine != "torch":
        raise BadInput(f"{settings.reference} shows no experts.", "Name a folder of safetensors or hf:ORG/NAME.")
    domains = _domains(opened, texts, collections)
    folder = Path(found.target)
    config, device = read_config(folder), choose_device(settings.device)
    total, _ = count_parameters(config)
    dtype = choose_dtype(settings.dtype, total, device)
    layout = choose_layout(folder, config, settings.model_copy(update={"ranks": 1}), dtype, device, total)
    model = load_model(
        folder,
        dtype,
        device,
        progress=opened.loading,
        adapter=adapter_folder(settings),
        expert_bytes=layout.expert_bytes,
    )
    tokenizer = Tokenizer(folder)

    tokens = {name: tokenizer.encode(text)[:_TOKENS] for name, text in domains.items()}
    uses = []
    for name, ids in tokens.items():
        uses.append(domain_use(model, name, ids))
        note(f"{name}: {len(ids):,} tokens")
    best = specialists(uses, model.config.first_k_dense_replace, _SHOWN)
    judged = try_skipping(model, list(tokens.values()), thresholds) if thresholds else []
    if as_json:
        print_json(
            {
                "reference": settings.reference,
                "first_layer": model.config.first_k_dense_replace,
                "domains": [
                    {"domain": use.domain, "tokens": use.tokens, "counts": use.counts.tolist()} for use in uses
                ],
                "specialists": [asdict(one) | {"lift": one.lift} for one in best],
                "thresholds": [asdict(one) for one in judged],
            }
        )
    else:
        table(
            ["layer", "expert", "domain", "share", "elsewhere", "lift"],
            [
                [one.layer, one.expert, one.domain, f"{one.share:.1%}", f"{one.elsewhere:.1%}", f"{one.lift:.1f}"]
                for one in best
            ],
        )
        if judged:
            say("")
        table(
            ["threshold", "nats/token", "experts skipped", "prefill tok/s", "decode tok/s"],
            [
                [one.threshold, f"{one.loss:.4f}", f"{one.skipped:.1%}", f"{one.prefill:,.0f}", f"{one.decode:,.1f}"]
                for one in judged
            ],
        )
    if plot is not None:
        from app.bench_plot import draw_experts

        first = model.config.first_k_dense_replace
        draw_experts(settings.reference, first, {use.domain: use.shares.tolist() for use in uses}, plot)
        note(f"Drawn into {plot}.")


def _domains(opened: "Workspace", texts: Sequence[Path], collections: Sequence[str]) -> dict[str, str]:
    """Text by domain: the files and collections given, or else what ships."""
    from app.errors import BadInput
    from model.errors import why

    found = {}
    for file in texts:
        try:
            found[file.stem] = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{file} cannot be read as text: {why(error)}.", "Give text files in UTF-8.") from error
    for name in collections:
        documents = opened.library.documents([name])
        if not documents:
            raise BadInput(f"The collection {name} holds no documents.", "`loci library list` shows what there is.")
        found[name] = "\n\n".join(opened.library.text(document.id) for document in documents)
    return found or _shipped()


def _shipped() -> dict[str, str]:
    """Prose, tables, letters, a page, questions and code, from files of this installation."""
    import json

    from app.demo import sample

    folder = sample()
    kinds = {"prose": "*/*.md", "table": "*/*.csv", "letter": "*/*.eml", "page": "*/*.html"}
    found = {
        kind: "\n\n".join(file.read_text("utf-8") for file in sorted(folder.glob(pattern)))
        for kind, pattern in kinds.items()
    }
    asked = [json.loads(line) for line in (folder / "questions.jsonl").read_text("utf-8").splitlines()]
    found["dialogue"] = "\n".join(
        f"- {one['question']}\n- {', '.join(one['expect'])}" for one in asked if {"question", "expect"} <= one.keys()
    )
    found["code"] = Path(__file__).read_text("utf-8")
    return {kind: text for kind, text in found.items() if text}
