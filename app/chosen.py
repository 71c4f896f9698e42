"""The documents that filters choose: `type:pdf in:contracts after:2024`. Without filters, all of the scope."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.errors import BadInput
from retrieval.query import check_dates, read_query

if TYPE_CHECKING:
    from retrieval.library import Library
    from retrieval.types import DocumentInfo


def chosen(library: "Library", filters: str, scope: Sequence[str]) -> "list[DocumentInfo]":
    """The documents of `scope` that `filters` let through, by collection and path.

    :raises BadInput: there are words that are no filter.
    :raises BadFilter: a date is none.
    """
    check_dates(filters)
    asked = read_query(filters)
    if asked.words:
        raise BadInput(
            f"{asked.words!r} is no filter.",
            "Filters are in:FOLDER, type:KIND, after:DATE, before:DATE and author:NAME.",
        )
    return library.documents(scope, asked)
