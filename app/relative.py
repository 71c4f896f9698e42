"""The question that asks for what a relative clause describes, in good English.

    the firm that built the pier            Which firm built the pier?
    the department Ana Ruiz works in        Which department does Ana Ruiz work in?
    the river where the old mill stands     Which river is it where the old mill stands?

The last form is right of every clause; it is taken where the verb is not known for certain.
"""

import re

_AUXILIARY = r"(?:is|are|was|were|can|could|will|would|should|must|may|might|ha(?:s|d)(?= (?:been|not|\w+ed)\b))"
_PAST = (
    r"(?:won|wrote|made|built|sold|bought|held|led|ran|sang|found|lost|taught|kept|sank|gave|took|brought|drew|drove"
    r"|flew|grew|knew|paid|rose|sent|set|spoke|spent|stood|stole|told|wore|became|began|came|went|left|met|put|read"
    r"|said|sat|saw|shot|hit|cut|got|fought|fell|broke|chose|lent|had|has)"
)
_PRESENT = r"(?!(?:always|perhaps|sometimes|this|thus|has|does|\w+ss)\b)[a-z]{2,}s"
_NAME = r"[A-ZÀ-ÖØ-Þ][\w.-]*"
_SUBJECT = rf"(?:he|she|it|#\d|{_NAME}(?: (?:(?:of|de|van|von|the) )?{_NAME})*)"
_LINK = r"(?:in|at|on|of|for|to|from|by|with|about|into|after|before|since|until|near|through|under|over)"
_NEXT = rf"(?: (?:{_LINK}|the|an?|this|his|her|its|their|all|both|no|every)\b|$)"
"""What follows a verb, and no noun: "sails on", but "boats compete"."""

_OF_ITSELF = re.compile(rf"(?:{_AUXILIARY}|{_PAST}) |(?:{_PRESENT}|[a-z]+ed)(?:{_NEXT}| {_NAME}| [#\d])")
"""How a clause begins whose subject is the described thing."""
_BY_AUXILIARY = re.compile(rf"(?P<subject>{_SUBJECT}) (?P<verb>{_AUXILIARY}) (?P<rest>.+)")
_BY_VERB = re.compile(rf"(?P<subject>{_SUBJECT}) (?P<verb>{_PRESENT})(?P<rest>{_NEXT}.*)")


def question_for(who: str, link: str, clause: str) -> str:
    """The question for the thing of which `clause` says something.

    :param who: what asks for such a thing: "Who", "Which firm".
    :param link: what joins thing and clause: "that", "where", "in which".
    """
    ahead = link.removesuffix("which").rstrip() if " " in link else ""
    if not ahead and link != "where" and _OF_ITSELF.match(clause):
        return f"{who} {clause}?"
    asked = f"{ahead.capitalize()} {who[:1].lower()}{who[1:]}" if ahead else who
    if link != "where" and not re.search(r"\b(?:and|or|but)\b", clause):
        if said := _BY_AUXILIARY.fullmatch(clause):
            return f"{asked} {said['verb']} {said['subject']} {said['rest']}?"
        if said := _BY_VERB.fullmatch(clause):
            return f"{asked} does {said['subject']} {_base(said['verb'])}{said['rest']}?"
    return f"{who} is it {link} {clause}?"


def _base(verb: str) -> str:
    """The verb without the ending of the third person: "goes", "carries", "teaches", "works"."""
    if verb.endswith("ies") and len(verb) > 4:
        return f"{verb[:-3]}y"
    return verb[:-2] if re.search(r"(?:o|x|ss|zz|ch|sh)es$", verb) else verb[:-1]
