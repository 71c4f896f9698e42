"""`loci batch --each-document`: the same questions of every document."""

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.answer import Answer, Ask
    from app.batch import Advance, Outcome, Pins
    from app.workspace import Workspace
    from retrieval.types import DocumentInfo


def each(
    opened: "Workspace",
    given: str,
    where: str,
    out: Path,
    ask: "Callable[[Ask], Answer]",
    fixed: Mapping[str, Any],
    pins: "Pins",
    **how: Any,
) -> "Generator[Advance, None, Outcome]":
    """The run over the documents that `where` lets through; `fixed` are fields of every `Ask`.

    :raises BadInput: no question, words that are no filter, or as `app.each_document.run_each`.
    """
    from app.answer import Ask
    from app.chosen import chosen
    from app.each_document import read_questions, run_each

    questions = read_questions(given)
    documents = chosen(opened.library, where, fixed["scope"])

    def answered(question: str, document: "DocumentInfo", pinned: "Pins") -> "Answer":
        return ask(
            Ask(
                question,
                within=(document.id,),
                whole=True,
                use_memory=False,
                store=False,
                seed=pinned.seed,
                library_epoch=pinned.library_epoch,
                **fixed,
            )
        )

    return run_each(questions, documents, out, answered, pins, **how)
