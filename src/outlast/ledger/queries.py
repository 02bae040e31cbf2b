"""The SQL of questions to the ledger. ``outlast/database/migrations`` creates the tables.

Tasks are in two of them: alone in a row, or many in a row of arrays (`outlast.ledger.batching`). A question must find
the few batches that matter without unpacking the others: what is in a batch has ids from ``first_id`` to ``last_id``,
and these are less than five seconds apart.
"""

import re
from collections.abc import Callable
from typing import Any

from outlast.core import ids
from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.records import Query, TaskQuery
from outlast.ledger.sql import SINGLE, TABLES

_OPEN = {SINGLE: "outcome", "workers": "ended"}
_SPELT_OUT: dict[str, Callable[[Any], str | int]] = {
    "outcome": lambda value: TaskOutcome(value).value,
    "reason": lambda value: EndReason(value).value,
    "status": int,
}
"""Members of closed lists, and numbers. With parameters the planner would not see that a partial index applies."""
_AS_TEXT = ("id", "execution_id", "node")
_FOUR_SECONDS = re.compile("[0-9a-f]{8}-[0-9a-f]")
"""The beginning of an id of version 7, which everything made within the same 4,096 ms has in common."""
_BEGINS_OTHERWISE = "left(request_id, 10) <> left(id::text, 10)"
"""Exactly as in the index `tasks_of_earlier_requests`."""
_FIRST_OF_ALL = "00000000-0000-0000-0000-000000000000"
_OF_BATCH = {
    "id": "task.id",
    "request_id": "task.request_id::text",
    "started": "outlast.made_at(task.id)",
    "settled": "task.settled",
    "outcome": "'fulfilled'::text",
    "reason": "null::text",
    "error": "null::text",
    "ms": "task.ms",
    "cpu_ms": "null::double precision",
}
"""Where in a batch a task's fields are, if not in a column of the same name."""
_UNPACKED = """outlast.task_batches as batch,
    unnest(batch.ids, batch.request_ids, batch.settled, batch.ms) as task (id, request_id, settled, ms)"""


class _Values(list[object]):
    """The values of a statement's parameters."""

    def bind(self, value: object, kind: str = "uuid") -> str:
        """Returns how to refer to the value."""
        self.append(value)
        return f"${len(self)}::{kind}"


def page(table: str, query: Query, cursor: str | None, limit: int) -> tuple[str, list[object]]:
    """A page of records, newest first."""
    values = _Values()
    most = values.bind(limit, "bigint")
    upper = min((bound for bound in (cursor, query.bound_id) if bound is not None), default=None)
    records = f"""(
        select {", ".join(TABLES[table])} from outlast.{table} where {_where(table, query, upper, values)}
        order by id desc limit {most}
    )"""  # noqa: S608
    if isinstance(query, TaskQuery) and (batched := _batched(query, upper, values, most)):
        records += (
            f" union all (select {_unpacked()} from {_UNPACKED} where {batched} order by task.id desc limit {most})"  # noqa: S608
        )
    return f"select {_columns(table)} from ({records}) as record order by record.id desc limit {most}", values  # noqa: S608


def one(table: str) -> str:
    """$1: its id."""
    return f"select {_columns(table)} from outlast.{table} as record where id = $1::uuid"  # noqa: S608


def task() -> str:
    """$1: its id."""
    return f"""
        {one(SINGLE)} union all
        select {_columns(SINGLE)} from (
            select {_unpacked()} from {_UNPACKED}
            where batch.last_id >= $1::uuid and batch.last_id < outlast.five_seconds_after($1::uuid)
                and batch.first_id <= $1::uuid and $1::uuid = any(batch.ids) and task.id = $1::uuid
        ) as record
    """  # noqa: S608


def counts(query: TaskQuery) -> tuple[str, list[object]]:
    values = _Values()
    text = f"""
        select function, outcome, reason, count(*) as count from outlast.single_tasks
        where {_where(SINGLE, query, query.bound_id, values)} group by 1, 2, 3
    """  # noqa: S608
    if batched := _batched(query, query.bound_id, values, None):
        takes_whole_batches = not (query.since or query.until or query.request_id)
        count, source = (
            ("sum(count)", "outlast.task_batches as batch") if takes_whole_batches else ("count(*)", _UNPACKED)
        )
        text += f" union all select function, 'fulfilled', null, {count} from {source} where {batched} group by 1"  # noqa: S608
    return (
        f"select function, outcome, reason, sum(count)::bigint as count from ({text}) as part "  # noqa: S608
        "group by 1, 2, 3 order by 1, 2, 3",
        values,
    )


def _columns(table: str) -> str:
    return ", ".join(f"record.{name}::text" if name in _AS_TEXT else name for name in TABLES[table])


def _unpacked() -> str:
    return ", ".join(f"{_OF_BATCH.get(name, f'batch.{name}')} as {name}" for name in TABLES[SINGLE])


def _where(table: str, query: Query, upper: str | None, values: _Values) -> str:
    where: list[str] = []
    for name, value in query.fields.items():
        if name == "is_open":
            where.append(f"{_OPEN[table]} is {'null' if value else 'not null'}")
        elif name in _SPELT_OUT:
            where.append(f"{name} = {_SPELT_OUT[name](value)!r}")
        else:
            where.append(f"{name} = {values.bind(value, 'text')}")
            if name == "request_id":
                where.append(_near(str(value)))
    for sign, bound in ((">=", query.lowest_id), ("<", upper)):
        if bound is not None:
            where.append(f"id {sign} {values.bind(bound)}")
    return " and ".join(where) or "true"


def _near(request_id: str) -> str:
    """A condition that all tasks of a request meet, and that an index supports."""
    if (begin := _FOUR_SECONDS.match(request_id)) is None:
        return _BEGINS_OTHERWISE
    first, last = (f"{begin[0]}{3 * digit}-{4 * digit}-{4 * digit}-{12 * digit}" for digit in "0f")
    return f"(id between '{first}' and '{last}' or {_BEGINS_OTHERWISE})"


def _batched(query: TaskQuery, upper: str | None, values: _Values, most: str | None) -> str | None:
    """The condition for tasks in batches; None if none can be meant. ``most``: how many of the newest suffice."""
    fields = query.fields
    if fields.get("outcome", TaskOutcome.FULFILLED) != TaskOutcome.FULFILLED or "reason" in fields or query.is_open:
        return None
    if query.request_id is not None and not ids.is_uuid(query.request_id):
        return None
    alike = [f"batch.{name} = {values.bind(fields[name], 'text')}" for name in ("function", "name") if name in fields]
    of_task = []
    if query.lowest_id is not None:
        lowest = values.bind(query.lowest_id)
        alike.append(f"batch.last_id >= {lowest}")
        of_task.append(f"task.id >= {lowest}")
    where = [*alike, *of_task]
    if upper is not None:
        bound = values.bind(upper)
        alike.append(f"batch.last_id < {bound}")
        where += [
            f"batch.last_id < outlast.five_seconds_after({bound})",
            f"batch.first_id < {bound}",
            f"task.id < {bound}",
        ]
    if query.request_id is not None:
        request = values.bind(query.request_id)
        where += [
            # In its millisecond, a request's id may be greater than those of its tasks.
            f"batch.last_id >= {values.bind(_first_of_ms(query.request_id))}",
            f"batch.last_id < outlast.five_seconds_after({request})",
            *(f"batch.first_id <= {request}", f"{request} = any(batch.request_ids)", f"task.request_id = {request}"),
        ]
    elif most is not None:
        where.append(f"batch.last_id >= coalesce(({_reaching_back(alike, most)}), '{_FIRST_OF_ALL}')")
    return " and ".join(where) or "true"


def _reaching_back(alike: list[str], most: str) -> str:
    """The ``first_id`` down to which there are as many tasks as are wanted.

    The newest batches that have as many between them have only tasks from there on: older ones cannot be on the page.
    """
    return f"""
        select first_id from (
            select first_id, sum(count) over (order by last_id desc rows unbounded preceding) - count as newer from (
                select batch.first_id, batch.last_id, batch.count from outlast.task_batches as batch
                where {" and ".join(alike) or "true"} order by batch.last_id desc limit {most}
            ) as newest
        ) as counted
        where newer < {most} order by first_id limit 1
    """  # noqa: S608


def _first_of_ms(id_: str) -> str:
    """The least id that can be made in the same millisecond."""
    return f"{id_[:13]}-0000-0000-000000000000"
