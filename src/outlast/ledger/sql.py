"""The SQL statements of the ledger. ``outlast/database/migrations`` creates the tables."""

import re
from collections.abc import Callable
from typing import Any

from outlast.core.outcome import EndReason, TaskOutcome
from outlast.core.records import Query, TaskQuery

# Upserts. The records are one JSON text, which costs the node a tenth of what as many values would. Writing a record
# again changes nothing: a task's first outcome stays, unless it was only assumed while the task's node was out of
# reach.

_TASK_FIELDS = {
    "id": "uuid",
    "function": "text",
    "language": "text",
    "name": "text",
    "request_id": "text",
    "execution_id": "uuid",
    "node": "uuid",
    "started": "timestamptz",
    "settled": "timestamptz",
    "outcome": "text",
    "reason": "text",
    "error": "text",
    "ms": "double precision",
    "cpu_ms": "double precision",
}
_WORKER_FIELDS = {
    "id": "uuid",
    "function": "text",
    "language": "text",
    "node": "uuid",
    "started": "timestamptz",
    "ready": "timestamptz",
    "ended": "timestamptz",
    "reason": "text",
    "error": "text",
    "requests": "bigint",
    "tasks": "bigint",
    "ms": "double precision",
    "cpu_ms": "double precision",
    "memory_mb": "double precision",
}
_REQUEST_FIELDS = {
    "id": "uuid",
    "function": "text",
    "execution_id": "uuid",
    "node": "uuid",
    "method": "text",
    "path": "text",
    "status": "integer",
    "received": "timestamptz",
    "first_byte_ms": "double precision",
    "ms": "double precision",
    "error": "text",
}
TABLES = {"tasks": _TASK_FIELDS, "workers": _WORKER_FIELDS, "requests": _REQUEST_FIELDS}


def _write(table: str, on_conflict: str) -> str:
    fields = TABLES[table]
    names = ", ".join(fields)
    columns = ", ".join(f"{name} {kind}" for name, kind in fields.items())
    return f"""
        insert into outlast.{table} as old ({names})
        select {names} from json_to_recordset($1::json) as record ({columns})
        on conflict (id) do {on_conflict}
    """  # noqa: S608


def _update(*names: str) -> str:
    return "update set " + ", ".join(f"{name} = excluded.{name}" for name in names)


WRITE = {
    "tasks": _write(
        "tasks",
        f"""{_update("settled", "outcome", "reason", "error", "ms", "cpu_ms")}
        where excluded.outcome is not null and (old.outcome is null or old.reason = 'node_lost')""",
    ),
    "workers": _write(
        "workers",
        f"""{_update("ready", "ended", "reason", "error", "requests", "tasks", "ms", "cpu_ms", "memory_mb")}
        where excluded.ended is not null or old.ended is null""",
    ),
    "requests": _write("requests", "nothing"),
}

# Nodes. All times are by the database's clock, which is the same for all nodes.

BEAT = """
    insert into outlast.nodes (id, started, last_seen) values ($1, $2, now())
    on conflict (id) do update set last_seen = now(), ended = null
"""

FIND_LOST = """
    select id from outlast.nodes
    where id <> $1 and ended is null
      and (id = any($2) or (last_seen < now() - make_interval(secs => $3)))
    for update skip locked
"""
"""Locks them, so that only one node finds each. $3 is very long if only those in $2 are meant."""

LOSE_TASKS = """
    update outlast.tasks task
    set outcome = 'interrupted', reason = 'node_lost', settled = greatest(node.last_seen, task.started),
        ms = extract(epoch from greatest(node.last_seen, task.started) - task.started) * 1000
    from outlast.nodes node
    where task.node = node.id and node.id = any($1) and task.outcome is null
"""

LOSE_WORKERS = """
    update outlast.workers worker
    set reason = 'node_lost', ended = greatest(node.last_seen, worker.started),
        ms = extract(epoch from greatest(node.last_seen, worker.started) - worker.started) * 1000
    from outlast.nodes node
    where worker.node = node.id and node.id = any($1) and worker.ended is null
"""

END_NODES = "update outlast.nodes set ended = now() where id = any($1)"

# Deleting what is beyond the retention, a little at a time.

FORGET = {
    "tasks": "outcome is not null",
    "workers": "ended is not null",
    "requests": "true",
    "nodes": "ended is not null",
}
"""What may be deleted: nothing that is still open."""


def forget(table: str) -> str:
    """$1: the first id to be kept; $2: how many at most are deleted now."""
    return f"""
        delete from outlast.{table} where id = any(array(
            select id from outlast.{table} where id < $1 and {FORGET[table]} order by id limit $2
        ))
    """  # noqa: S608


ESTIMATE = "select reltuples::bigint from pg_class where oid = $1::regclass"


def oldest_kept(table: str) -> str:
    """$1: how many are kept."""
    return f"select id from outlast.{table} order by id desc offset $1 - 1 limit 1"  # noqa: S608


# Queries.

_OPEN = {"tasks": "outcome", "workers": "ended"}
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


def page(table: str, query: Query, cursor: str | None, limit: int) -> tuple[str, list[object]]:
    """A page of records, newest first."""
    where, values = _where(table, query)
    if cursor is not None:
        values.append(cursor)
        where.append(f"id < ${len(values)}::uuid")
    values.append(limit)
    conditions = " and ".join(where) or "true"
    text = f"select {_columns(table)} from outlast.{table} where {conditions} order by id desc limit ${len(values)}"  # noqa: S608
    # The table's own `id`, because the selected one is a text, and has no index.
    return text.replace("order by id", f"order by {table}.id"), values


def one(table: str) -> str:
    return f"select {_columns(table)} from outlast.{table} where id = $1::uuid"  # noqa: S608


def counts(query: TaskQuery) -> tuple[str, list[object]]:
    where, values = _where("tasks", query)
    return (
        f"""select function, outcome, reason, count(*) as count from outlast.tasks
        where {" and ".join(where) or "true"} group by 1, 2, 3 order by 1, 2, 3""",  # noqa: S608
        values,
    )


def _columns(table: str) -> str:
    return ", ".join(f"{name}::text" if name in _AS_TEXT else name for name in TABLES[table])


def _where(table: str, query: Query) -> tuple[list[str], list[object]]:
    where: list[str] = []
    values: list[object] = []
    for name, value in query.fields.items():
        if name == "is_open":
            where.append(f"{_OPEN[table]} is {'null' if value else 'not null'}")
        elif name in _SPELT_OUT:
            where.append(f"{name} = {_SPELT_OUT[name](value)!r}")
        else:
            values.append(value)
            where.append(f"{name} = ${len(values)}")
            if name == "request_id":
                where.append(_near(str(value)))
    for sign, bound in ((">=", query.lowest_id), ("<", query.bound_id)):
        if bound is not None:
            values.append(bound)
            where.append(f"id {sign} ${len(values)}::uuid")
    return where, values


def _near(request_id: str) -> str:
    """A condition that all tasks of a request meet, and that an index supports."""
    if (begin := _FOUR_SECONDS.match(request_id)) is None:
        return _BEGINS_OTHERWISE
    first, last = (f"{begin[0]}{3 * digit}-{4 * digit}-{4 * digit}-{12 * digit}" for digit in "0f")
    return f"(id between '{first}' and '{last}' or {_BEGINS_OTHERWISE})"
