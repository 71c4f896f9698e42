"""`loci model`: the models that can answer."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from app.cli.bench import bench
from app.cli.card import card
from app.cli.door import AsJson, counted, group, note, print_json, progress, say, table, workspace
from app.cli.plan import plan
from app.cli.train import train

app = group("The models that can answer.")
app.command()(bench)
app.command()(card)
app.command()(plan)
app.command()(train)

Reference = Annotated[
    str | None,
    typer.Argument(metavar="[REF]", help="A reference as for --model. Default: the one in use.", show_default=False),
]


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the embedded model, the one in use, and checkpoints in the profile's models folder.

    \b
    loci model list
    """
    from app.models_here import models_here

    with workspace(ctx) as opened:
        used = opened.settings.model.reference
        references = models_here(opened)
    if as_json:
        print_json([{"reference": reference, "in_use": reference == used} for reference in references])
    else:
        table(["in use", "reference"], [["*" if reference == used else "", reference] for reference in references])


@app.command()
def show(ctx: typer.Context, reference: Reference = None, as_json: AsJson = False) -> None:
    """Load a model and show what it is: size, window, quantisation, devices, abilities.

    \b
    loci model show
    loci model show ~/models/DeepSeek-V2-Lite-Chat --json
    """
    with workspace(ctx, model__reference=reference) as opened:
        described = opened.load()
        unread = [f"model.{name}" for name in opened.settings.model.without_effect(described.engine)]
    info = asdict(described) | {"capabilities": sorted(described.capabilities)}
    if as_json:
        print_json(info | {"without_effect": unread})
    else:
        for name, value in info.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            say(f"{name}: {f'{shown:,}' if isinstance(shown, int) else '' if shown is None else shown}")
        if unread:
            note(f"Set, but without effect on a model of the {described.engine} engine: {', '.join(unread)}.")


@app.command()
def suggest(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also say which models do not fit, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name models that fit this machine, with size, licence and what to expect; needs no network.

    \b
    loci model suggest
    loci model suggest --all --json
    """
    from model.plan.machine import this_machine
    from model.plan.make import IDLE_GPUS, WITH_CUDA, usable
    from model.plan.suggest import suggest as choose

    with workspace(ctx) as opened:
        machine, settings = this_machine(), opened.settings.model
    here = usable(machine, settings)
    fitting, others = choose(here, settings)
    if here != machine:
        note(f"{IDLE_GPUS} {WITH_CUDA}")
    if as_json:
        print_json(
            [asdict(one) | {"fits": True} for one in fitting] + [asdict(one) | {"fits": False} for one in others]
        )
        return
    for one in fitting:
        size = f"{one.parameters / 1e9:,.0f}B parameters, {one.active / 1e9:,.1f}B active"
        say(f"{one.name} in {one.quantization}: {size}")
        say(f"  {one.expect}")
        say(
            f"  {one.bytes / 1e9:,.0f} GB, {one.context:,} tokens, about {one.prefill:,.3g} tokens/s of a prompt and "
            f"{one.decode:,.3g} of an answer; {one.licence}; {one.source}"
        )
        for command in one.get:
            say(f"  {command}")
    if not fitting:
        note("None of the models known here fits this machine; the embedded one is at hand.")
    for other in others if everything else ():
        say(f"{other.name} does not fit. {other.why}")


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of safetensors.", show_default=False)],
    file: Annotated[Path, typer.Argument(metavar="OUT.gguf", help="The file to write.", show_default=False)],
    type: Annotated[str, typer.Option("--type", metavar="TYPE", help="Of the weights: f16, q8_0, q4_k_m, ...")] = "f16",
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a checkpoint as GGUF, for llama.cpp.

    Types: f32, f16, bf16, q8_0, q6_k, q5_k_m, q5_k_s, q5_0, q4_k_m, q4_k_s, q4_0, iq4_nl, iq4_xs, q3_k_l, q3_k_m,
    q3_k_s, q2_k. Rows that a K-quant (_k) does not divide keep the next larger type. Ctrl-C leaves nothing behind.

    \b
    loci model convert ~/models/DeepSeek-V2-Lite-Chat lite.gguf --type q4_k_m
    """
    from app.errors import BadInput
    from model.quantise import TYPES, Type
    from model.quantise import convert as write

    if file.exists() and not force:
        raise BadInput(f"{file} exists.", "Give --force to replace it, or another name.")
    if type.lower() not in TYPES:
        raise BadInput(f"{type!r} is no type that is written.", f"Give one of {', '.join(TYPES)}.")
    with progress("Converting", "tensors") as advance:
        made = write(folder, file, cast(Type, type.lower()), advance)
    if as_json:
        print_json(asdict(made) | {"file": str(made.file)})
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in made.types.items())
    note(f"{file}: {made.bytes / 1e6:,.1f} MB, {made.bits:.2f} bits a weight; matrices: {kinds}")


@app.command()
def pull(
    reference: Annotated[
        str, typer.Argument(metavar="hf:ORG/NAME[:QUANT][@REV]", help="On the Hugging Face Hub.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Fetch a model from the Hugging Face Hub; run it again to go on after an interruption.

    Fetches what an engine reads and nothing else, and checks it by hash. HF_TOKEN, HF_HOME and HF_ENDPOINT are heeded.

    \b
    loci model pull hf:deepseek-ai/DeepSeek-V2-Lite-Chat
    loci model pull hf:unsloth/DeepSeek-V3-GGUF:Q4_K_M
    loci model pull hf:deepseek-ai/DeepSeek-V3@main --json
    """
    from app.cli.transfer import transfer
    from model.pull import pull

    try:
        with transfer(f"Fetching {reference}") as advance:
            pulled = pull(reference, advance)
    except KeyboardInterrupt:
        note("Interrupted; what came is kept, and the same command goes on.")
        raise
    if as_json:
        print_json(asdict(pulled) | {"folder": str(pulled.folder)})
        return
    say(str(pulled.folder))
    note(
        f"{counted(len(pulled.files), 'file')}, {pulled.bytes / 1e9:,.2f} GB, {pulled.fetched / 1e9:,.2f} of them "
        f"fetched now, revision {pulled.revision}. Ask it with: loci ask --model {reference}"
    )
