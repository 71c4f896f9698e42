"""GBNF grammars, against regular expressions that say the same."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import Grammar
from model.errors import UnsupportedConstraint
from model.gbnf import gbnf_to_lark
from tests.model.conftest import Fits

PAIRS = [
    ('root ::= "ab" [c-e]* | "x"+ "y"?', "ab[c-e]*|x+y?"),
    ('root ::= item{2,3}\nitem ::= [ab] | "cc" # a comment', "(?:[ab]|cc){2,3}"),
    ('root ::= ( "a" |\n  [^ab] ) "b"{2} .', "(?:a|[^ab])bb(?s:.)"),
    ('root ::= "a"{1,} ("b" "c")?', "a+(?:bc)?"),
    ('root ::= ("a"?)* [\\x62-]', "a*[b-]"),
    # Terminals read greedily would take the "b", or the "ab", for themselves.
    ('root ::= word "b"\nword ::= [a-e]+', "[a-e]+b"),
    ('root ::= "ab" "d" | "a" "bc"', "abd|abc"),
    ('root ::= first? "x"\nfirst ::= "a" first? "b"', "(?:a(?:a(?:ab)?b)?b)?x"),
    ('root ::= "a"{0} "b"{0,0} | ""', ""),
    ("root ::= root [ab] | [c-e]", "[c-e][ab]*"),
]


@pytest.mark.parametrize(("gbnf", "pattern"), PAIRS)
@given(text=st.text("abcdexy-é", max_size=7))
@settings(max_examples=80, deadline=None)
def test_grammars_allow_what_the_same_regular_expression_allows(fits: Fits, gbnf: str, pattern: str, text: str) -> None:
    assert fits(Grammar(gbnf), text) == (re.fullmatch(pattern, text) is not None)


def test_recursive_rules_match_nested_texts(fits: Fits) -> None:
    gbnf = """
root   ::= list "."
list   ::= "[" gap (entry ("," gap entry)*)? "]" gap   # lists of lists
entry  ::= number gap | list
number ::= "-"? [0-9]+
gap    ::= [ \\t\\n]*
"""
    assert fits(Grammar(gbnf), "[1, [ -2,3], []].")
    assert fits(Grammar(gbnf), "[\t\n].")
    assert not fits(Grammar(gbnf), "[1, [2].")
    assert not fits(Grammar(gbnf), "[1]")


@pytest.mark.parametrize(
    ("gbnf", "named"),
    [
        ("other ::= [a]", "root"),
        ("root ::= missing", "missing"),
        ('root ::= "a', "line 1"),
        ('root ::= "a"\nx := "b"', "line 2"),
        ("root ::= root [a]", "needs itself"),
        ('root ::= "a"? item\nitem ::= root "b"', "needs itself"),
        ('root ::= "a" root', "needs itself"),
        ('root ::= "a"{3,2}', "repetition"),
        ("root ::= [b-a]", "backwards"),
        ("root ::= []", "empty"),
        ('root ::= "a"\nroot ::= "b"', "twice"),
        ('root ::= "a"{x}', "repetition"),
        ('root ::= "\\q"', "escape"),
        ("", "root"),
        ("root ::= " + "(" * 20_000 + "[a]" + ")" * 20_000, "deeply"),
    ],
)
def test_broken_grammars_are_refused_with_their_fault(gbnf: str, named: str) -> None:
    with pytest.raises(UnsupportedConstraint, match=named):
        gbnf_to_lark(gbnf)
