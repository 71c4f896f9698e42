"""Questions of two steps, and of one that look like them: right, wrong or refused, through `Assistant`.

    PYTHONPATH=. python tests/grounding/multihop/measure.py [--model REF] [--set tuned|held_out] [--whole] [--show]

The library holds all documents of both sets. `--whole` asks every question as it stands. `proven` are right answers
whose citations also say the name in between. `tuned` may be looked at when rules are made; of `held_out` only the
figures.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.answer import Answer, Ask
from tests.grounding.everyday.measure import VERDICTS, Verdict, asking, plain

HERE = Path(__file__).parent
SETS = ("tuned", "held_out")
Kind = Literal["two", "one", "missing"]
KINDS: tuple[Kind, ...] = ("two", "one", "missing")


@dataclass(frozen=True, slots=True)
class Question:
    """`gold` are wordings of which an answer must hold one, or, of a question in two parts, `parts` of which it must
    hold each; `via` the names in between. One `missing` has no answer: a step of it stands nowhere."""

    text: str
    kind: Kind
    gold: tuple[str, ...]
    parts: tuple[str, ...]
    via: tuple[str, ...]


def questions(name: str) -> list[Question]:
    """The questions of a set, in the order of its file."""
    rows = [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return [
        Question(
            row["question"],
            row["kind"],
            () if row.get("all") else tuple(row["gold"]),
            tuple(row["gold"]) if row.get("all") else (),
            tuple(row["via"]),
        )
        for row in rows
    ]


def verdict(question: Question, answer: Answer) -> Verdict:
    """What an answer is worth; where one comes in steps, its first line is what is said."""
    if answer.abstained:
        return "rightly refused" if question.kind == "missing" else "refused"
    said = plain(answer.answer if question.parts else answer.answer.split("\n")[0])
    right = any(plain(one) in said for one in question.gold) or bool(question.parts)
    return "right" if right and all(plain(one) in said for one in question.parts) else "wrong"


def proven(question: Question, answer: Answer) -> bool:
    """Whether the citations say what a right answer says, and every name on the way to it."""
    quotes = plain(" ".join(one.quote for one in answer.citations if one.status == "verified"))
    said = any(plain(one) in quotes for one in question.gold) or bool(question.parts)
    return said and all(plain(one) in quotes for one in (*question.parts, *question.via))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--set", choices=SETS, action="append", help="both unless given")
    parser.add_argument("--whole", action="store_true", help="ask every question as it stands")
    parser.add_argument("--show", action="store_true", help="every answer of the tuned set that is wrong or refused")
    chosen = parser.parse_args()
    with asking(chosen.model, [HERE / name for name in SETS]) as (_, assistant):
        for name in chosen.set or SETS:
            counts: dict[Kind, Counter[str]] = {kind: Counter() for kind in KINDS}
            began = time.perf_counter()
            for one in questions(name):
                answer = assistant.ask(Ask(one.text, use_memory=False, store=False, whole=chosen.whole))
                found = verdict(one, answer)
                counts[one.kind].update([found, *["proven"] * (found == "right" and proven(one, answer))])
                counts[one.kind].update(["in steps"] * bool(answer.steps))
                if chosen.show and name == "tuned" and found in ("wrong", "refused"):
                    print(f"  {found:8} {answer.confidence or 0.0:.2f}  {one.text}\n{'':17} {answer.answer!r}")
            for kind in KINDS:
                told = ", ".join(f"{counts[kind][what]} {what}" for what in (*VERDICTS, "proven", "in steps"))
                print(f"{name}, {kind} ({sum(q.kind == kind for q in questions(name))} questions): {told}", flush=True)
            print(f"{name}: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
