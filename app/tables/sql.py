"""A plan as the SQL that answers it. Names and values are quoted; nothing of a question's own words gets in."""

from app.tables.filters import Condition
from app.tables.plan import Plan
from retrieval.tables.run import literal, quoted
from retrieval.tables.values import Column

_LENGTH = {"month": 7, "year": 4}


def query(plan: Plan, name: str) -> str:
    """The query over the table `name`.

    Its columns: of single rows `rowid`, what names the row, the figure; of parts the part, the figure, how many rows;
    of one figure the figure and, unless that is it, how many rows.
    """
    table, where = quoted(name), _where(plan.conditions)
    if plan.figure == "rows":
        return _of_rows(plan, table, where)
    if plan.parted is not None:
        part, figure = _part(plan, plan.parted), _figure(plan)
        kept = _and(where, f"{quoted(plan.parted.name)} IS NOT NULL")
        order = f"{figure} {_direction(plan)}, 1" if plan.order else "1"
        limit = f" LIMIT {plan.top}" if plan.top and plan.order and plan.top > 1 else ""
        if plan.top == 1 and plan.order:  # all parts that share the first place
            best = f"SELECT {figure} AS f FROM {table}{kept} GROUP BY {part}"
            end = "max" if plan.order == "max" else "min"
            return (
                f"SELECT {part}, {figure}, count(*) FROM {table}{kept} GROUP BY {part} "
                f"HAVING {figure} = (SELECT {end}(f) FROM ({best})) ORDER BY 1"
            )
        return f"SELECT {part}, {figure}, count(*) FROM {table}{kept} GROUP BY {part} ORDER BY {order}{limit}"
    if plan.figure in ("max", "min") and plan.measure is not None:
        measure = quoted(plan.measure.name)
        if plan.top is not None and plan.top > 1:
            kept = _and(where, f"{measure} IS NOT NULL")
            return f"{_selected(plan)} FROM {table}{kept} ORDER BY {measure} {_direction(plan)}, rowid LIMIT {plan.top}"
        best = f"(SELECT {plan.figure}({measure}) FROM {table}{where})"
        return f"{_selected(plan)} FROM {table}{_and(where, f'{measure} = {best}')} ORDER BY rowid"
    counted = "" if plan.measure is None else ", count(*)"
    return f"SELECT {_figure(plan)}{counted} FROM {table}{where}"


def rows_query(plan: Plan, name: str) -> str:
    """The rows that the answer rests on: their numbers, and what each has of the figure's column."""
    measure = quoted(plan.measure.name) if plan.measure is not None else "1"
    return f"SELECT rowid, {measure} FROM {quoted(name)}{_where(plan.conditions)} ORDER BY rowid"


def _of_rows(plan: Plan, table: str, where: str) -> str:
    return f"{_selected(plan)} FROM {table}{where} ORDER BY rowid"


def _selected(plan: Plan) -> str:
    columns = [plan.shown, plan.measure, *(c.column for c in plan.conditions if c.bounds and plan.figure == "rows")]
    names = dict.fromkeys(quoted(one.name) for one in columns if one is not None)
    return f"SELECT rowid, {', '.join(names)}"


def _figure(plan: Plan) -> str:
    if plan.measure is None:
        return "count(*)"
    distinct = "DISTINCT " if plan.distinct else ""
    return f"{plan.figure}({distinct}{quoted(plan.measure.name)})"


def _part(plan: Plan, column: Column) -> str:
    name = quoted(column.name)
    length = _LENGTH.get(plan.parted_to) if column.kind == "date" else None
    return f"substr({name}, 1, {length})" if length else name


def _direction(plan: Plan) -> str:
    return "ASC" if plan.order == "min" else "DESC"


def _where(conditions: tuple[Condition, ...]) -> str:
    said = [part for condition in conditions for part in _conditions(condition)]
    return f" WHERE {' AND '.join(said)}" if said else ""


def _and(where: str, more: str) -> str:
    return f"{where} AND {more}" if where else f" WHERE {more}"


def _conditions(condition: Condition) -> list[str]:
    name = quoted(condition.column.name)
    if len(condition.values) > 1:
        return [f"{name} IN ({', '.join(map(literal, condition.values))})"]
    return [f"{name} = {literal(value)}" for value in condition.values] + [
        f"{name} {sign} {literal(bound)}" for sign, bound in condition.bounds
    ]
