"""Questions over rows: what is answered by a query, with its rows cited, and what is left to the usual way."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.answer import Answer, Ask
from app.assistant import Assistant
from app.settings_assistant import AssistantSettings
from app.shelf import Shelf
from app.tables.conditions import demands
from app.tables.plan import asks_for_rows
from app.tables.reply import reply, within
from app.turn import Turn
from retrieval.ingest import ingest
from retrieval.library import Library
from retrieval.settings import RetrievalSettings
from tests.app.cli_run import Run
from tests.app.fakes_engine import FakeEngine
from tests.fakes import FakeEmbedder

SALES = """Date,Customer,Region,Product,Units sold,Unit price,Revenue EUR,Paid
2024-01-05,Anna Holm,North,Rope,10,2.50,25.00,yes
2024-03-10,Bo Lind,South,Buoy,4,12.00,48.00,no
2024-11-20,Anna Holm,North,Net,2,30.00,60.00,yes
2025-02-01,Cara Ek,East,Rope,7,2.60,18.20,yes
2025-02-14,Bo Lind,South,Rope,1,2.60,2.60,no
"""
WATER = """Date,Station,Temperature C,E. coli per 100 ml,Remarks
2025-03-19,Pier head,7.0,8,
2025-03-19,Inner basin,7.2,55,dredger at work
2025-07-22,Pier head,15.8,17,
2025-07-22,Inner basin,17.9,n/a,no water in the basin
"""
BERTHS = """Berth,Unit,Price GBP
Town visitor,per night,3.40
Basin visitor,per night,2.60
Town annual,per year,236.00
Mud annual,per year,61.00
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    from openpyxl import Workbook

    folder = tmp_path_factory.mktemp("tables")
    for name, content in {"sales": SALES, "water-quality": WATER, "berths": BERTHS}.items():
        (folder / f"{name}.csv").write_text(content)
    book = Workbook()
    for sheet, trips in (("Summer", (40, 61)), ("Winter", (12, 9))):
        added = book.create_sheet(sheet)
        for row in (["Vessel", "Trips"], ["Dunlin", trips[0]], ["Sandpiper", trips[1]]):
            added.append(row)
    book.save(folder / "ferry.xlsx")
    (folder / "hafen.csv").write_text("Boot;Länge;Gebühr\nMöwe;9,40;1.234,50 €\nWal;12,10;980,00 €\n", "utf-8")
    found = Library(folder / "data", folder / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(found, [folder])
    yield found
    found.close()


def ask(library: Library, question: str, **options: Any) -> Answer:
    engine = FakeEngine(*["The usual way."] * 3)
    return Assistant(lambda: engine, library, None, AssistantSettings()).ask(Ask(question, store=False, **options))


@pytest.mark.parametrize(
    ("question", "said", "where"),
    [
        ("What is the total revenue?", "153.80 EUR [1]", "G2:G6"),
        ("What is the total revenue in 2024?", "133.00 EUR [1]", "G2:G4"),
        ("Total revenue after March 2024", "80.80 EUR [1]", "G4:G6"),
        ("What is the average temperature at Pier head?", "11.4 C [1][2]", "C2"),
        ("What is the average temperature in C at Pier head?", "11.4 C [1][2]", "C2"),
        ("How many units were sold in February 2025?", "8 [1]", "E5:E6"),
        ("How many sales were paid?", "3 [1][2]", "A2:H2"),
        ("How many different products are there?", "3 [1]", "D2:D6"),
        ("How many sales were there in North?", "2 [1][2]", "A2:H2"),  # no column is named, but the table is
        ("What is the highest E. coli count?", "Inner basin: 55 per 100 ml [1]", "D3"),
        ("When was the lowest temperature?", "2025-03-19: 7.0 C [1]", "C2"),
        (
            "Which station had the highest average temperature?",
            "Inner basin: 12.55 C [1]\nAverage of Temperature C by Station, 4 rows",
            "C2:C5",
        ),
        ("Which month had the highest average temperature?", "2025-07: 16.85 C [1]", "C2:C5"),
        ("Who is the customer with the highest revenue?", "Anna Holm: 85.00 EUR [1]", "G2:G6"),
        ("Which product has the highest unit price?", "Net: 30.00 [1]", "F4"),
        ("What is the cheapest annual berth?", "Mud annual: 61.00 GBP [1]", "C5"),
        ("How much revenue did we make in total?", "153.80 EUR [1]", "G2:G6"),
        ("What is the average unit price of sales over 2.55?", "11.8 [1]", "F3:F6"),
        ("How many trips did the Dunlin make in summer?", "40 [1]", "B2"),
        ("Wie hoch ist die durchschnittliche Gebühr?", "€1107.25 [1]", "C2:C3"),
        ("Welches Boot ist länger als 10 m?", "1 row where Länge is over 10 [1]:\n- Wal: 12.10", "A3"),
        ("Which customers have revenue between 20 and 50?", "2 rows where", "B2:B3"),
        (
            "What is the total revenue per region?",
            "Sum of Revenue EUR by Region, 5 rows [1]:\n- East: 18.20 EUR",
            "G2:G6",
        ),
        ("Top 2 products by revenue", "Sum of Revenue EUR by Product, 5 rows [1]:\n- Net: 60.00 EUR\n- Buoy", "G2:G6"),
        ("What is the revenue of Anna Holm and Bo Lind in total?", "Sum of Revenue EUR by Customer, 4 rows", "G2:G4"),
    ],
)
def test_a_question_over_rows_is_answered_by_a_query(library: Library, question: str, said: str, where: str) -> None:
    answer = ask(library, question)
    assert answer.answer.startswith(said), answer.answer
    assert answer.query is not None and answer.query.startswith("SELECT ") and answer.grounded
    assert answer.citations[0].locator.cells == where
    for citation in answer.citations:
        assert citation.status == "verified" and citation.quote
        assert citation.quote == library.text(citation.document)[citation.start : citation.end]
        assert answer.answer[citation.answer_start : citation.answer_end] == f"[{citation.n}]"


@pytest.mark.parametrize(
    "question",
    [
        "What is the total revenue of the harbour?",  # "harbour" is explained by nothing
        "What is the total revenue without Bo Lind?",
        "How many customers are there?",  # there may be more than this table has
        "Which berth is the most expensive?",  # per night and per year
        "What was the revenue of Anna Holm?",  # a cell looked up
        "What is the average price?",  # of berths, or of a unit?
        "Top 3 stations by temperature",  # its rows, or its average?
        "How many sales were there before 2024?" + " And after 2024?",
        "What is the total revenue in 2019?",  # no row: the usual way says so
        "Who won the most prizes?",
        "What is our total revenue?",  # the memory's
    ],
)
def test_what_is_not_certain_goes_the_usual_way(library: Library, question: str) -> None:
    answer = ask(library, question)
    assert answer.query is None and answer.answer.startswith("The usual way")


def test_of_several_tables_of_one_shape_the_answer_says_which_it_could_mean(library: Library) -> None:
    answer = ask(library, "How many trips did the Dunlin make?")
    assert answer.abstained and answer.query is None and not answer.citations
    assert "Summer in ferry.xlsx; Winter in ferry.xlsx. Name the one you mean" in answer.answer
    assert ask(library, "How many trips did the Dunlin make in winter?").answer.startswith("12 [1]")


def test_a_table_that_is_only_told_by_a_superlative_gives_way_to_one_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Item,Price EUR\nhammer,12\nsaw,30\n")
    (tmp_path / "b.csv").write_text("Name,Salary EUR\nAna,4000\nBo,3000\n")
    library = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(library, [tmp_path / "a.csv", tmp_path / "b.csv"])
    assert ask(library, "What is the most expensive item?").answer.startswith("saw: 30 EUR")
    library.close()


def test_among_more_tables_than_are_read_none_is_certain(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(library, "What is the total revenue?").query
    monkeypatch.setattr("app.tables.reply._ROWS", 3)
    assert ask(library, "What is the total revenue?").query is None


def test_rows_that_have_no_figure_are_named(library: Library) -> None:
    answer = ask(library, "What is the average E. coli at Inner basin?")
    assert answer.answer.startswith("55 per 100 ml [1]\n") and "1 more has nothing there." in answer.answer


def test_there_is_no_average_of_rows_without_a_figure_and_initials_are_no_small_word(tmp_path: Path) -> None:
    (tmp_path / "staff.csv").write_text("Name,Department,Salary\nAnna,Sales,40\nBo,IT,60\nCara,IT,70\nDora,HR,\n")
    staff = Library(tmp_path / "data", tmp_path / "cache", RetrievalSettings(), FakeEmbedder)
    ingest(staff, [tmp_path / "staff.csv"])
    assert ask(staff, "What is the average salary in IT?").answer.startswith("65 ")
    assert ask(staff, "How many people work in IT?").answer.startswith("2 ")
    assert ask(staff, "What is the average salary in US?").query is None
    assert ask(staff, "WHAT IS THE AVERAGE SALARY?").answer.startswith("56.67 ")
    assert ask(staff, "What is the average salary in HR?").query is None
    assert ask(staff, "What is the sum of the salary in HR?").query is None
    staff.close()


def test_a_table_is_asked_within_its_scope_and_not_when_the_library_is_left_out(library: Library) -> None:
    question = "What is the total revenue?"
    assert ask(library, question, scope=("other",)).query is None
    assert ask(library, question, use_library=False).query is None
    assert ask(library, question, documents=(library.document("berths.csv").id,)).query is None
    assert ask(library, question, schema="{}", attachments=(("a", "b"),)).query is None


def test_the_query_is_sql_that_says_what_was_asked(library: Library) -> None:
    assert ask(library, "What is the average temperature at Pier head in March 2025?").query == (
        'SELECT avg("Temperature C"), count(*) FROM "water-quality" '
        "WHERE \"Date\" >= '2025-03' AND \"Date\" < '2025-04' AND \"Station\" = 'Pier head'"
    )


def test_conditions_are_read_from_words() -> None:
    def bounds(text: str) -> list[Any]:
        return [bound for demand in demands(text) for bound in demand.bounds]

    assert bounds("over 1,200.50 and at most 3,5") == [(">", 1200.5), ("<=", 3.5)]
    assert bounds("between 5 and 10") == [(">=", 5.0), ("<=", 10.0)]
    assert bounds("since 3 May 2024") == [(">=", "2024-05-03")]
    assert bounds("after 2024-12-31") == [(">=", "2025-01-01")]
    assert bounds("in Q4 2024") == [(">=", "2024-10"), ("<", "2025")]
    assert bounds("between March and June 2025") == [(">=", "2025-03"), ("<", "2025-07")]
    assert bounds("over 1.000.000 and under 1.234,5") == [(">", 1e6), ("<", 1234.5)]
    assert bounds("berth 14 of the pier") == bounds("over 1.2.3") == []


def test_no_question_breaks_the_rules(library: Library) -> None:
    draw = random.Random(3)
    words = (
        "what is the total average over 5 1.2.3 ² ٣ between and in 2024 March berth 14 top 3 per station revenue E."
        " coli 'x' \" ; Q1 without"
    )
    for _ in range(150):
        question = " ".join(draw.choice(words.split()) for _ in range(draw.randint(1, 12)))
        turn = Turn(Ask(question), Shelf(library), 0, standalone=question)
        reply(turn, library, within(turn.ask, question, library))


def test_a_question_without_a_figure_is_told_at_once() -> None:
    assert asks_for_rows("How many boats are there?") and asks_for_rows("Which boats are over 10 m?")
    assert not asks_for_rows("Who signed the lease?")


def test_a_documents_tables_are_shown_with_their_columns(loci: Run, tmp_path: Path) -> None:
    (tmp_path / "hafen.csv").write_text("Boot;Länge;Gebühr\nMöwe;9,40;1.234,50 €\n", "utf-8")
    assert loci("ingest", tmp_path / "hafen.csv").code == 0
    shown = loci("library", "show", "hafen.csv").out
    assert "table A1:C2, 1 row: Boot (text), Länge (number), Gebühr (number, €)" in shown
    (table,) = loci("library", "show", "hafen.csv", "--json").json["tables"]
    assert (table["sheet"], table["rows"], table["columns"][2]["unit"]) == (None, 1, "€")


def test_one_row_is_no_average_of_all(library: Library) -> None:
    engine = FakeEngine(capabilities=("span",))
    one = Assistant(lambda: engine, library, None, AssistantSettings())
    said = [
        one.ask(Ask(f"What is the {figure} of the Buoy in the harbour?", store=False))
        for figure in ("unit price", "average unit price")
    ]
    assert said[0].answer == "Unit price: 12.00 [1]" and said[1].abstained and said[1].query is None
