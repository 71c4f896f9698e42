"""`loci eval`: measure a room on a published data set, or a model on long texts and on tasks of your own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from app.cli.door import AsJson, Model, group, print_json, table, workspace
from app.cli.evaluate_context import context

app = group("Measure retrieval, memory, grounding or a model's long context, in a temporary profile.")

Paragraphs = Annotated[
    Literal["xquad", "chunking", "beir"],
    typer.Option(
        "--dataset", help="XQuAD, Chroma's chunking evaluation, or a folder laid out as BEIR's.", show_default=False
    ),
]
Dialogues = Annotated[
    Literal["locomo", "beam"], typer.Option("--dataset", help="LoCoMo's conversations, or BEAM's.", show_default=False)
]
Answerables = Annotated[
    Literal["xquad", "clapnq"], typer.Option("--dataset", help="XQuAD, or CLAP NQ.", show_default=False)
]
At = Annotated[Path, typer.Option("--path", metavar="PATH", help="The data set's file or folder.", show_default=False)]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many items.")]

Conversations = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many conversations.")]


@app.command()
def retrieval(
    dataset: Paragraphs,
    path: At,
    reranker: Annotated[
        str, typer.Option("--reranker", metavar="FOLDER", help="A cross-encoder for a second look.", show_default=False)
    ] = "",
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Measure how well passages are found.

    \b
    loci eval retrieval --dataset xquad --path xquad.en.json --json
    loci eval retrieval --dataset beir --path scifact

    Words alone (lexical, BM25) and meaning alone (dense) stand beside the two fused, and these beside a reranker.
    """
    from app.evaluation.retrieval import evaluate

    _run(partial(evaluate, reranker=reranker), dataset, path, limit, as_json)


@app.command()
def memory(dataset: Dialogues, path: At, limit: Conversations = None, as_json: AsJson = False) -> None:
    """Measure how well memories are recalled.

    \b
    loci eval memory --dataset locomo --path locomo10.json
    loci eval memory --dataset beam --path beam100k
    """
    from app.evaluation.memory import evaluate

    _run(evaluate, dataset, path, limit, as_json, "conversations")


@app.command()
def retention(
    dataset: Annotated[
        Literal["locomo", "beam"],
        typer.Option("--dataset", help="LoCoMo's conversations, or BEAM's chats.", show_default=False),
    ],
    path: At,
    prior_dataset: Annotated[
        Literal["locomo", "beam"] | None,
        typer.Option("--prior-dataset", help="Train the replayed model on this set first.", show_default=False),
    ] = None,
    prior_path: Annotated[
        Path | None,
        typer.Option("--prior-path", metavar="PATH", help="Where that set is.", show_default=False),
    ] = None,
    limit: Conversations = None,
    as_json: AsJson = False,
) -> None:
    """Measure how much of what questions need survives forgetting.

    \b
    loci eval retention --dataset locomo --path locomo10.json
    loci eval retention --dataset locomo --path locomo10.json --prior-dataset beam --prior-path beam100k
    """
    from app.errors import BadInput
    from app.evaluation.retention import evaluate

    if (prior_dataset is None) != (prior_path is None):
        raise BadInput("A prior needs its name and its place.", "Give --prior-dataset and --prior-path together.")
    if prior_path is not None and not prior_path.exists():
        raise BadInput(f"{prior_path} does not exist.", "Give the data set's file or folder with --prior-path.")
    prior = None if prior_path is None else (prior_dataset, prior_path)
    _run(partial(evaluate, prior=prior), dataset, path, limit, as_json, "conversations")


@app.command()
def grounding(
    ctx: typer.Context,
    dataset: Answerables,
    path: At,
    model: Model = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Measure answers, refusals and citations, with any model.

    \b
    loci eval grounding --dataset xquad --path xquad.en.json --limit 100
    loci eval grounding --dataset clapnq --path clapnq --model model.gguf
    """
    from app.evaluation.grounding import evaluate

    with workspace(ctx, alone=True, model__reference=model) as opened:
        # Without a model to be had, the rule alone is measured; one that was named must be there.
        named = opened.settings.model.reference != "embedded"
        _run(partial(evaluate, engine=opened.engine) if named else evaluate, dataset, path, limit, as_json)


@app.command()
def model(
    ctx: typer.Context,
    tasks: Annotated[list[str], typer.Argument(metavar="TASK", help="Names of tasks.", show_default=False)],
    path: Annotated[
        Path, typer.Option("--path", metavar="FOLDER", help="Where the tasks' YAML files are.", show_default=False)
    ],
    reference: Model = None,
    shots: Annotated[int | None, typer.Option("--shots", min=0, help="Worked examples before each question.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask in messages, by the model's own template.")] = False,
    limit: Limit = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of examples and sampling.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a model itself on tasks of lm-evaluation-harness: your task files, your data.

    \b
    loci eval model my_task --path tasks --model hf:ORG/NAME --limit 100
    loci eval model my_task --path tasks --model http://host:8000/v1#name --chat

    A task's dataset_path is json or csv, with data_files on this machine. Of remote models those of vLLM and
    SGLang compare log-probabilities, of texts without --chat; others only write.
    """
    from app.errors import BadInput
    from app.evaluation.harness import HarnessOptions, evaluate

    if not path.is_dir():
        raise BadInput(f"{path} is no folder.", "Give the folder that holds the tasks' YAML files.")
    with workspace(ctx, alone=True, model__reference=reference) as opened:
        engine = opened.engine()
        workers = opened.settings.model.in_flight if engine.describe().engine == "remote" else 1
        found = evaluate(tasks, path, engine, HarnessOptions(shots, chat, limit, seed, workers))
    if as_json:
        print_json(found)
    else:
        table(["metric", "value"], [[name, f"{value:.4f}"] for name, value in found["metrics"].items()])


app.command()(context)


def _run(
    evaluate: Callable[..., dict[str, Any]],
    dataset: str,
    path: Path,
    limit: int | None,
    as_json: bool,
    limits: str = "limit",
) -> None:
    from app.errors import BadInput

    if not path.exists():
        raise BadInput(f"{path} does not exist.", "Give the data set's file or folder with --path.")
    result = evaluate(dataset, path, **({} if limit is None else {limits: limit}))
    if as_json:
        print_json(result)
        return
    rows = [[name, f"{value:.4f}"] for name, value in result["metrics"].items()]
    for baseline, metrics in result["baselines"].items():
        rows += [[f"{name} ({baseline})", f"{value:.4f}"] for name, value in metrics.items()]
    table(["metric", "value"], rows)
    print(f"{result['items']} items of {result['dataset']} in {result['seconds']:.1f} s")
