"""Hand-made answers of the kinds large models write, each with what the checker must make of it.

Passages 1 to 6 are given to the model. A case lists the citations in order, each as (mark, status, quote), where the
quote is the exact source text, and the parts of the answer that nothing supports. `None` as the quote asks only that it
be not empty.
"""

from dataclasses import dataclass, field

HARBOUR = (
    "Harbour rules of Vellmar\n\n"
    "The harbour office opens at 08:00 and closes at 18:00 from April to October. "
    "A berth for a boat of up to 9 metres costs €12.50 per night. Boats longer than 9 metres pay €19.00 per night.\n"
    "Dogs must not be left alone on board. The fuel dock does not accept cash.\n\n"
    "The breakwater was built by Anna Holm between 1921 and 1924, after the storm of 1919 had de-\n"
    "stroyed the old wooden pier. It is 340 metres long and stands on ﬁrm granite. As shown in [3], the western "
    "light was added later. Anna Holm said: “The sea takes what we don’t fasten.”\n"
)
MUSEUM = (
    "The Museum of Ropes keeps 1,204 knots in its main hall. It was founded in 1978 by the brothers Piet and Jan "
    "Mulder. "
    "Admission is free on the first Sunday of each month; on other days it costs 7 euros.\n\n"
    "The oldest rope is 3,200 years old and was found near Luxor. It is kept at 18 °C and may not be photographed "
    "with a flash."
)
GERMAN = "Die Fähre legt um 9:15 Uhr ab. Fahrräder werden nicht kostenlos befördert. Ein Fahrschein kostet 4,20 Euro."
CHINESE = "灯塔建于1887年，高二十六米。灯塔每晚七点开灯，冬季不对游客开放。"
SHEET = "Boat: Pelican; Berth: 14; Owner: Rosa Lindt\nBoat: Heron; Berth: 15; Owner: Tom Berg\n"

DOCUMENTS = {"d1": HARBOUR, "d2": MUSEUM, "d3": GERMAN, "d4": CHINESE, "d5": SHEET}
_CUT = HARBOUR.index("The breakwater")
PASSAGES = (("d1", 0, _CUT), ("d1", _CUT, len(HARBOUR)), *((d, 0, len(DOCUMENTS[d])) for d in ("d2", "d3", "d4", "d5")))
MEMORIES = {3: "My boat is called Pelican", 7: "I prefer the morning ferry"}

OPENS = "The harbour office opens at 08:00 and closes at 18:00 from April to October."
NINE = "A berth for a boat of up to 9 metres costs €12.50 per night."
LONGER = "Boats longer than 9 metres pay €19.00 per night."
DOGS = "Dogs must not be left alone on board."
CASH = "The fuel dock does not accept cash."
BUILT = HARBOUR[_CUT : HARBOUR.index(" It is 340")]
LONG = "It is 340 metres long and stands on ﬁrm granite."
SEA = "The sea takes what we don’t fasten."
KNOTS = "The Museum of Ropes keeps 1,204 knots in its main hall."
FOUNDED = "It was founded in 1978 by the brothers Piet and Jan Mulder."
FREE = "Admission is free on the first Sunday of each month; on other days it costs 7 euros."
OLDEST = "The oldest rope is 3,200 years old and was found near Luxor."
FLASH = "It is kept at 18 °C and may not be photographed with a flash."
PELICAN = "Boat: Pelican; Berth: 14; Owner: Rosa Lindt"


@dataclass(frozen=True)
class Case:
    name: str
    answer: str
    citations: list[tuple[int, str, str | None]] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    memories: list[int] = field(default_factory=list)
    reasoning: str | None = None
    refused: bool = False


V, R, M, N = "verified", "repaired", "misattributed", "not_found"

CASES = [
    # --- quotations, form only
    Case("straight quotes", f'The rule is: "{DOGS}" [1]', [(1, V, DOGS[:-1])]),
    Case("curly quotes", "It says “Dogs must not be left alone on board” [1].", [(1, V, DOGS[:-1])]),
    Case(
        "german quotes",
        "Dort steht: „Ein Fahrschein kostet 4,20 Euro“ [4].",
        [(4, V, "Ein Fahrschein kostet 4,20 Euro")],
    ),
    Case("guillemets", "Le texte dit « Dogs must not be left alone on board » [1].", [(1, V, DOGS[:-1])]),
    Case("curly single quotes", "It says ‘Dogs must not be left alone on board’ [1].", [(1, V, DOGS[:-1])]),
    Case("comma inside the quotes", "“The fuel dock does not accept cash,” the rules say [1].", [(1, V, CASH[:-1])]),
    Case(
        "nested quotes",
        "The page reads “Anna Holm said: ‘The sea takes what we don't fasten.’” [2]",
        [(2, V, "Anna Holm said: “The sea takes what we don’t fasten")],
    ),
    Case(
        "line break and hyphen",
        "“after the storm of 1919 had destroyed the old wooden pier” [2]",
        [(2, V, "after the storm of 1919 had de-\nstroyed the old wooden pier")],
    ),
    Case("ligature", '"stands on firm granite" [2]', [(2, V, "stands on ﬁrm granite")]),
    Case("thin and double spaces", "“It is 340\u202fmetres  long” [2]", [(2, V, "It is 340 metres long")]),
    Case("apostrophe forms", '"The sea takes what we don\'t fasten" [2]', [(2, V, SEA[:-1])]),
    Case(
        "soft hyphen",
        "“may not be photo\u00adgraphed with a flash” [3]",
        [(3, V, "may not be photographed with a flash")],
    ),
    Case("block quotation", f"The rules are clear:\n\n> {DOGS}\n> {CASH} [1]\n", [(1, V, None)]),
    Case(
        "mark in the source's own words",
        "“As shown in [3], the western light was added later” [2]",
        [(2, V, "As shown in [3], the western light was added later")],
    ),
    Case("quotation without a mark", f"The sign says “{CASH[:-1]}”.", [(3 - 2, V, CASH[:-1])]),
    Case(
        "two quotations",
        f"“{DOGS[:-1]}” [1] and “stands on firm granite” [2].",
        [(1, V, DOGS[:-1]), (2, V, "stands on ﬁrm granite")],
    ),
    Case("spanning two sentences", f"“{DOGS} {CASH}” [1]", [(1, V, f"{DOGS} {CASH[:-1]}")]),
    Case(
        "spanning two passages",
        "“does not accept cash. The breakwater was built by Anna Holm” [1][2]",
        [(1, V, None), (2, V, None)],
    ),
    # --- quotations, repaired
    Case("changed case", "“DOGS MUST NOT BE LEFT ALONE ON BOARD” [1]", [(1, R, DOGS[:-1])]),
    Case("lower first letter", "Note that “the fuel dock does not accept cash” [1].", [(1, R, CASH[:-1])]),
    Case("ellipsis", "“The harbour office opens at 08:00 … from April to October” [1]", [(1, R, OPENS[:-1])]),
    Case(
        "three dots",
        '"The breakwater was built by Anna Holm ... after the storm of 1919" [2]',
        [(2, R, "The breakwater was built by Anna Holm between 1921 and 1924, after the storm of 1919")],
    ),
    Case("bracketed ellipsis", "“The oldest rope [...] was found near Luxor” [3]", [(3, R, OLDEST[:-1])]),
    Case("bracketed letter", "“[d]ogs must not be left alone on board” [1]", [(1, R, DOGS[:-1])]),
    Case(
        "bracketed word",
        "“[The rope] is kept at 18 °C and may not be photographed” [3]",
        [(3, R, "is kept at 18 °C and may not be photographed")],
    ),
    Case(
        "article dropped",
        "“Harbour office opens at 08:00 and closes at 18:00” [1]",
        [(1, R, "harbour office opens at 08:00 and closes at 18:00")],
    ),
    Case(
        "inflection",
        "“the brothers Piet and Jan Mulders founded” and “dog must not be left alone on board” [1]",
        [(1, N, ""), (1, R, DOGS[:-1])],
        ["“the brothers"],
    ),
    Case(
        "ellipsis at the ends",
        "“... closes at 18:00 from April to October ...” [1]",
        [(1, V, "closes at 18:00 from April to October")],
    ),
    # --- quotations that must never be verified
    Case(
        "changed number",
        "“A berth for a boat of up to 9 metres costs €15.50 per night” [1]",
        [(1, N, "")],
        ["“A berth"],
    ),
    Case("cut number", "“Museum of Ropes keeps 204 knots” [3]", [(3, N, "")], ["“Museum"]),
    Case(
        "changed year", "“was founded in 1987 by the brothers Piet and Jan Mulder” [3]", [(3, N, "")], ["“was founded"]
    ),
    Case("dropped negation", "“The fuel dock does accept cash” [1]", [(1, N, "")], ["“The fuel"]),
    Case("negation hidden by an ellipsis", "“The fuel dock does … accept cash” [1]", [(1, N, "")], ["“The fuel"]),
    Case(
        "added negation", "“Admission is not free on the first Sunday of each month” [3]", [(3, N, "")], ["“Admission"]
    ),
    Case(
        "changed name",
        "“The breakwater was built by Anna Berg between 1921 and 1924” [2]",
        [(2, N, "")],
        ["“The breakwater"],
    ),
    Case("bracket over a number", "“It is [430] metres long and stands on firm granite” [2]", [(2, N, "")], ["“It is"]),
    Case(
        "translated quotation", "It says “Los perros no deben quedarse solos a bordo” [1].", [(1, N, "")], ["It says"]
    ),
    Case("translated from german", "“A ticket costs 4.20 euros for everyone” [4]", [(4, N, "")], ["“A ticket"]),
    Case("invented quotation", "“Visitors are welcome at any hour of the day” [1]", [(1, N, "")], ["“Visitors"]),
    Case("powers keep their meaning", "“It is 340² metres long and stands” [2]", [(2, N, "")], ["“It is"]),
    Case("swapped order", "“opens at 18:00 and closes at 08:00” [1]", [(1, N, "")], ["“opens"]),
    Case("moved elsewhere", f"“{OLDEST[:-1]}” [1]", [(1, M, OLDEST[:-1])]),
    Case("right document, wrong passage", "“stands on firm granite” [1]", [(1, M, "stands on ﬁrm granite")]),
    # --- claims without quotations
    Case("plain claim", "The office closes at 18:00 from April to October [1].", [(1, V, OPENS)]),
    Case("mark after the full stop", "The office closes at 18:00 from April to October. [1]", [(1, V, OPENS)]),
    Case(
        "marks of both sentences",
        "The fuel dock does not accept cash. [1] The museum keeps 1204 knots. [3]",
        [(1, V, CASH), (3, V, KNOTS)],
    ),
    Case(
        "number in words",
        "The oldest rope was found near Luxor, and Pelican lies in berth fourteen [6].",
        [(6, N, "")],
        ["The oldest"],
    ),
    Case("thousands without comma", "The museum's main hall keeps 1204 knots [3].", [(3, V, KNOTS)]),
    Case(
        "changed number in a claim",
        "The main hall of the museum keeps 1,240 knots [3].",
        [(3, N, "")],
        ["The main hall"],
    ),
    Case(
        "changed name in a claim",
        "The museum was founded by the brothers Piet and Klaas Mulder in 1978 [3].",
        [(3, N, "")],
        ["The museum"],
    ),
    Case("negation dropped in a claim", "The fuel dock accepts cash [1].", [(1, N, "")], ["The fuel"]),
    Case(
        "negation added in a claim",
        "The office is not open at 08:00 from April to October [1].",
        [(1, N, "")],
        ["The office"],
    ),
    Case("opposite word", "The breakwater was built before the storm of 1919 [2].", [(2, N, "")], ["The breakwater"]),
    Case("wrong mark", "The museum was founded in 1978 by Piet and Jan Mulder [1].", [(1, M, FOUNDED)]),
    Case("list of marks", "The breakwater is 340 metres long [2, 9].", [(2, V, LONG), (9, N, "")]),
    Case(
        "range of marks",
        "Boats longer than 9 metres pay €19.00 per night and the breakwater is 340 metres long [1-2].",
        [(1, V, None), (2, V, None)],
    ),
    Case(
        "adjacent marks",
        "Boats longer than 9 metres pay €19.00 per night and the breakwater is 340 metres long [1][2].",
        [(1, V, None), (2, V, None)],
    ),
    Case(
        "a mark for each half",
        "Boats longer than 9 metres pay €19.00 per night [1], and the breakwater is 340 metres long [2].",
        [(1, V, LONGER), (2, V, LONG)],
    ),
    Case("no such passage", "The fuel dock does not accept cash [12].", [(12, N, "")], ["The fuel"]),
    Case("lenticular brackets", "The fuel dock does not accept cash【1】.", [(1, V, CASH)]),
    Case("lenticular with dagger", "The fuel dock does not accept cash【1†harbour.md】.", [(1, V, CASH)]),
    Case("round marks", "The fuel dock does not accept cash (1).", [(1, V, CASH)]),
    Case("round number is no mark beside brackets", "Berth 14 (14) belongs to Pelican [6].", [(6, V, PELICAN)]),
    Case("named source", "The fuel dock does not accept cash [Source 1].", [(1, V, CASH)]),
    Case("named in round brackets", "The fuel dock does not accept cash (Source 1).", [(1, V, CASH)]),
    Case(
        "footnotes",
        "The fuel dock does not accept cash[^1].\n\n[^1]: harbour.md, rules of the fuel dock and cash",
        [(1, V, CASH)],
    ),
    Case("superscript", "The fuel dock does not accept cash.¹", [(1, V, CASH)]),
    Case("html superscript", "The fuel dock does not accept cash.<sup>1</sup>", [(1, V, CASH)]),
    Case("square metres are no mark", "The breakwater is 340 metres long and the hall 90 m².", [], ["The breakwater"]),
    Case("leading mark", "[1] says that the fuel dock does not accept cash.", [(1, V, CASH)]),
    Case("markdown link", "The fuel dock does not accept cash [1](#source-1).", [(1, V, CASH)]),
    Case("bold text", "**The fuel dock does not accept cash** [1].", [(1, V, CASH)]),
    # --- lists, tables, code, headings
    Case(
        "bulleted list",
        "Prices:\n- Up to 9 metres: a berth costs €12.50 per night [1]\n- Boats longer than 9 "
        "metres: €29.00 per night [1]",
        [(1, V, NINE), (1, N, "")],
        ["- Boats longer"],
    ),
    Case(
        "numbered list",
        "1. Dogs must not be left alone on board [1]\n2. The fuel dock does not accept cash [1]",
        [(1, V, DOGS), (1, V, CASH)],
    ),
    Case(
        "table",
        "| Boat | Berth |\n|---|---|\n| Pelican | 14 [6] |\n| Heron | 16 [6] |\n",
        [(6, V, PELICAN), (6, N, "")],
        ["| Heron"],
    ),
    Case("code is left alone", 'Use this:\n\n```python\nprint("There are 99 boats in the harbour")  # [2]\n```\n', []),
    Case(
        "heading and question",
        "## Opening hours\n\nThe harbour office opens at 08:00 [1].\n\nDo you want to know more?",
        [(1, V, OPENS)],
    ),
    # --- reasoning, refusals, unmarked text, memories
    Case(
        "reasoning block",
        "<think>The user asks about cash [9]. 77 boats.</think>The fuel dock does not accept cash [1].",
        [(1, V, CASH)],
        reasoning="The user asks about cash [9]. 77 boats.",
    ),
    Case(
        "reasoning without its opening",
        "It may be passage one.</think>\nThe fuel dock does not accept cash [1].",
        [(1, V, CASH)],
        reasoning="It may be passage one.",
    ),
    Case("reasoning never closed", "<think>Let me see, 44 boats", [], reasoning="Let me see, 44 boats"),
    Case("refusal", "The documents do not say.", [], refused=True),
    Case("refusal by a pronoun", "I searched all. They do not say when.", refused=True),
    Case(
        "invented after a lead-in",
        "Based on the passages, the breakwater is 900 metres long. Sure, the harbour master is called Egon Krantz.",
        [],
        ["Based on", "Sure"],
    ),
    Case(
        "supported after a lead-in", "According to the documents, the fuel dock does not accept cash.", [(1, R, CASH)]
    ),
    Case("invented, found by the model", "I found that the museum has 77 lifeboats.", [], ["I found"]),
    Case(
        "a claim that is worded like a refusal",
        "The harbour levies a tax of 40 euros and it does not include the crane.",
        [],
        ["The harbour"],
    ),
    Case("only talk about the answer", "Here is what I found. Let me know if you need more.", []),
    Case("unmarked but supported", "The fuel dock does not accept cash.", [(1, R, CASH)]),
    Case("unmarked and invented", "The harbour master is a tall man with a beard.", [], ["The harbour master"]),
    Case(
        "second sentence invented",
        "The fuel dock does not accept cash [1]. It takes gold coins from sailors of Norway instead.",
        [(1, V, CASH)],
        ["It takes"],
    ),
    Case("memory mark", "Your boat is called Pelican [m3].", [], memories=[3]),
    Case(
        "memory and passage",
        "Your boat is called Pelican [m3] and it lies in berth 14 [6].",
        [(6, V, PELICAN)],
        memories=[3],
    ),
    Case("wrong memory", "Your boat is called Heron [m3].", [(6, R, None)][:0], ["Your boat"]),
    # --- other languages
    Case("german claim", "Ein Fahrschein kostet 4,20 Euro [4].", [(4, V, "Ein Fahrschein kostet 4,20 Euro.")]),
    Case("german negation dropped", "Fahrräder werden kostenlos befördert [4].", [(4, N, "")], ["Fahrräder"]),
    Case("chinese quotation", "资料写道：「灯塔每晚七点开灯」[5]。", [(5, V, "灯塔每晚七点开灯")]),
    Case("chinese claim", "灯塔建于1887年，高二十六米[5]。", [(5, V, "灯塔建于1887年，高二十六米。")]),
    Case("chinese changed year", "灯塔建于1878年，高二十六米[5]。", [(5, N, "")], ["灯塔建于"]),
    Case("chinese negation dropped", "冬季对游客开放[5]。", [(5, N, "")], ["冬季"]),
    Case("full-width marks", "灯塔每晚七点开灯［5］。", [(5, V, None)]),
]
