"""Sessions as files to read: what they say without Loci beside them."""

import json
from dataclasses import replace

from app.places import place, within
from app.session_export import as_html, as_markdown
from memory.types import Session, Turn
from retrieval.types import Locator

SESSION = Session(3, "Rent", "main", "2025-06-01T10:00:00Z", None, 1)
CITED = {
    "n": 1, "page": None, "line": 7, "title": "Lease <2023>",
    "locator": {"section": "Lease <2023> › Rent", "sheet": None, "cells": None, "slide": None},
    "path": "/home/ada/lease.docx",
    "quote": "The rent is\n£1,150 a year.", "status": "verified",
}  # fmt: skip
RESULT = {
    "citations": [CITED | {"n": 2, "status": "not_found", "quote": ""}, CITED, CITED],
    "memories": [{"id": 4, "text": "I rent plot 12.", "cited": True}, {"id": 5, "text": "I like tea.", "cited": False}],
}
TURN = Turn(9, 3, "2025-06-01T10:00:01Z", "How much?", "£1,150 [1] [2] [m4]", json.dumps(RESULT), True)


def test_markdown_tells_each_source_once_and_the_memories_that_were_used() -> None:
    assert as_markdown(SESSION, [TURN]).splitlines()[-7:] == [
        "> How much?",
        "",
        "£1,150 [1] [2] [m4]",
        "",
        "- [1] verified · Lease <2023>, Rent: “The rent is £1,150 a year.”",
        "- [2] not found · Lease <2023>, Rent",
        "- [m4] remembered: “I rent plot 12.”",
    ]


def test_html_tells_the_same_and_escapes_it() -> None:
    page = as_html(SESSION, [TURN])
    assert page.count("Lease &lt;2023&gt;, Rent: <q>The rent is £1,150 a year.</q>") == 1
    assert "<li>[m4] remembered: <q>I rent plot 12.</q></li>" in page and "tea" not in page


def test_an_answer_that_was_cut_off_says_so() -> None:
    turns = [replace(TURN, answer_json="", complete=False)]
    assert "*(incomplete)*" in as_markdown(SESSION, turns) and "was cut off" in as_html(SESSION, turns)


def test_tables_inside_documents_are_told_with_their_page_and_are_no_sheets() -> None:
    table = Locator(section="Report › Energy costs", sheet="Energy costs", cells="B3")
    assert within(4, table) == "page 4, table Energy costs, cell B3, Report"
    assert place("report.pdf", 4, 20, table) == "report.pdf, page 4, Energy costs!B3"
    sheet = Locator(sheet="Costs", cells="B4:D9")
    assert within(None, sheet) == "sheet Costs, cells B4:D9"
    assert place("costs.xlsx", None, 3, sheet) == "costs.xlsx, Costs!B4:D9"
