"""The model card of a training run, written from what was measured and from what the recipe says."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import BadInput
from model.errors import why

if TYPE_CHECKING:
    from model.train.runlog import Entry


def write_card(run: Path) -> str:
    """The card of the run in the folder `run`: Markdown, with the front matter that model hubs read.

    :raises BadInput: no run has ended there.
    """
    from model.train.runlog import RunLog

    try:
        config = json.loads((run / "model" / "config.json").read_text("utf-8"))
        measured = json.loads((run / "evaluation.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{run} is no finished training run: {why(error)}.", "Name the --out folder of `loci model train`."
        ) from error
    entries = RunLog(run).entries()
    starts = [entry for entry in entries if entry["event"] == "start"]
    if not starts:
        raise BadInput(f"{run} has no log of its training.", "Name the --out folder of `loci model train`.")
    recipe = starts[-1]["recipe"]
    parts = [
        f"---\nlicense: {recipe['licence']}\nlanguage: en\nlibrary_name: transformers\n---",
        f"# {recipe['name']}",
        "A mixture of experts of the DeepSeek-V3 architecture, trained from scratch by this project's own code "
        "(`model/train`). This card was written by `loci model card` from the run's log and measurements.",
        _dimensions(starts[-1], config, _megabytes(run / "model")),
        "## Training\n\n    loci model train RECIPE.toml --corpus CORPUS --out OUT\n\n"
        + _training(starts[-1], entries),
        _sources(recipe),
        "## Measured\n\n" + _measured(measured, entries),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _dimensions(start: "Entry", config: dict[str, Any], megabytes: float) -> str:
    dense = config["first_k_dense_replace"]
    yarn = config["rope_scaling"]
    extension = (
        f"YaRN, factor {yarn['factor']:g} over {yarn['original_max_position_embeddings']:,}" if yarn else "no extension"
    )
    rows = {
        "parameters": f"{start['parameters'] / 1e6:.1f}M, of which {start['active'] / 1e6:.1f}M work for each token",
        "layers": f"{config['num_hidden_layers']} ({dense} dense), width {config['hidden_size']}, "
        f"{config['num_attention_heads']} heads; latent attention: query rank {config['q_lora_rank']}, "
        f"key-value rank {config['kv_lora_rank']}, head {config['qk_nope_head_dim']} + {config['qk_rope_head_dim']} "
        f"/ {config['v_head_dim']}",
        "experts": f"{config['n_routed_experts']} routed, {config['num_experts_per_tok']} per token, and "
        f"{config['n_shared_experts']} shared, each {config['moe_intermediate_size']} wide; router balanced by bias",
        "predictors": f"{config['num_nextn_predict_layers']} (multi-token prediction)",
        "vocabulary": f"{config['vocab_size']:,}",
        "window": f"{config['max_position_embeddings']:,} tokens, {extension}",
        "weights": f"{megabytes:.1f} MB on disk",
    }
    return _table(("", ""), [[name, value] for name, value in rows.items()])


def _training(start: "Entry", entries: list["Entry"]) -> str:
    stages = {stage["name"]: stage for stage in start["recipe"]["stages"]}
    rows = []
    for end in (entry for entry in entries if entry["event"] == "stage"):
        stage = stages.get(end["stage"])
        if stage is None:
            continue
        asked = end["step"] * stage["policy"]["questions"]
        read = f"{end['step'] * stage['tokens'] / 1e6:,.1f}M" if stage["data"] != "policy" else f"{asked:,} questions"
        speeds = [
            one["tokens_per_second"] for one in entries if one["event"] == "step" and one["stage"] == end["stage"]
        ]
        found = f"{end['needles_found']:.2f} of {end['needle_answers']}" if "needles_found" in end else ""
        rows.append(
            [
                end["stage"], f"{stage['length']:,}", f"{end['seconds']:,.0f}", read,
                f"{sum(speeds) / len(speeds):,.0f}" if speeds else "", f"{end['validation_nats_per_token']:.3f}", found,
            ]
        )  # fmt: skip
    headings = ("stage", "window", "seconds", "tokens", "tokens/s", "held-out nats/token", "hidden facts found")
    seed = start["recipe"]["seed"]
    timed = any(stage["seconds"] for stage in stages.values())
    close = "Stages are limited by time: a second run is close to this one, not equal." if timed else ""
    return f"On {start['device']}, seed {seed}. {close}".strip() + "\n\n" + _table(headings, rows)


def _sources(recipe: dict[str, Any]) -> str:
    if not recipe["sources"]:
        return ""
    rows = [[one["name"], one["terms"], one["use"]] for one in recipe["sources"]]
    return (
        "## Sources\n\n"
        + _table(("source", "terms", "use"), rows)
        + f"\n\nThe weights are under {recipe['licence']}, with attribution to these sources."
    )


def _measured(measured: dict[str, dict[str, float]], entries: list["Entry"]) -> str:
    said = []
    if text := measured.get("text"):
        nats, exported = text["validation_nats_per_token"], text["exported_nats_per_token"]
        said.append(
            f"Held-out text: {nats:.3f} nats per token, {text['bits_per_character']:.3f} bits per character "
            f"({text['characters_per_token']:.2f} characters per token); FP8 weights cost {exported - nats:+.4f} nats."
        )
        if "draft_acceptance" in text:
            said.append(f"Greedy decoding takes {text['draft_acceptance']:.1%} of the first predictor's drafts there.")
    steps = [entry for entry in entries if entry["event"] == "step" and entry.get("load")]
    if steps:
        last = steps[-1]
        said.append(
            f"Busiest expert over the mean, less 1: at most {max(last['load']):.3f} in any layer at the end; "
            f"the idlest receives {min(last['least']):.2f} of the mean."
        )
    paragraphs = [" ".join(said)] if said else []
    paragraphs += [_policy(end, entries) for end in entries if end["event"] == "stage" and "kept" in end]
    kinds = {name: values for name, values in measured.items() if name != "text"}
    if kinds:
        headings = ("held-out question rows", "rows", "right passage", "span word for word", "refusal AUROC")
        keys = ("rows", "right_passage", "exact", "refusal_auroc")
        rows = [[name, *(f"{values[key]:g}" for key in keys)] for name, values in kinds.items()]
        paragraphs.append(_table(headings, rows))
    return "\n\n".join(paragraphs)


def _policy(end: "Entry", entries: list["Entry"]) -> str:
    """A stage of policy optimisation: held-out answers before and after it."""
    before = next(one for one in entries if one["event"] == "reward" and one["stage"] == end["stage"])
    headings = (
        "held-out answers, greedy",
        "reward",
        "F1",
        "right passage",
        "well-formed",
        "refused rightly",
        "wrongly",
    )
    keys = ("reward", "f1", "passage", "form", "refused_unanswerable", "refused_answerable")
    rows = [[name, *(f"{one[key]:.3f}" for key in keys)] for name, one in (("before", before), ("after", end))]
    said = "kept" if end["kept"] else "taken back: the weights are those from before"
    return (
        f"Policy optimisation, stage `{end['stage']}`, {end['step']:,} rounds: a gain of {end['gain']:+.4f} "
        f"(standard error {end['gain_error']:.4f}) in held-out reward; {said}.\n\n" + _table(headings, rows)
    )


def _table(headings: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
