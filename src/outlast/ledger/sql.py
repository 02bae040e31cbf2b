"""The SQL statements that change the ledger. ``outlast/database/migrations`` creates the tables."""

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
SINGLE = "single_tasks"
TABLES = {SINGLE: _TASK_FIELDS, "workers": _WORKER_FIELDS, "requests": _REQUEST_FIELDS}


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
    SINGLE: _write(
        SINGLE,
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

KNOW_DEPARTED = """
    insert into outlast.nodes (id, started, last_seen)
    select id, now(), coalesce(greatest(
        (select max(started) from outlast.single_tasks where node = departed.id and outcome is null),
        (select max(started) from outlast.workers where node = departed.id and ended is null)
    ), now())
    from unnest($1::uuid[]) as departed (id) order by id
    on conflict (id) do nothing
"""
"""For nodes that could write their records, but no sign of life: they were last seen beginning what is open."""

FIND_LOST = """
    select id from outlast.nodes
    where id <> $1 and ended is null
      and (id = any($2) or (last_seen < now() - make_interval(secs => $3)))
    for update skip locked
"""
"""Locks them, so that only one node finds each. $3 is very long if only those in $2 are meant."""

LOSE_TASKS = """
    update outlast.single_tasks task
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

_FORGET = {
    SINGLE: ("id", "1", "outcome is not null"),
    "task_batches": ("last_id", "count", "true"),
    "workers": ("id", "1", "ended is not null"),
    "requests": ("id", "1", "true"),
    "nodes": ("id", "1", "ended is not null"),
}
"""The key, how many records a row is, and what may be deleted: nothing that is still open."""


def forget(table: str) -> str:
    """$1: the first id to be kept; $2: how many rows at most go now. Gives the number of rows and of records."""
    key, count, condition = _FORGET[table]
    return f"""
        with gone as (
            delete from outlast.{table} where {key} = any(array(
                select {key} from outlast.{table} where {key} < $1 and {condition} order by {key} limit $2
            )) returning {count} as records
        )
        select count(*) as rows, coalesce(sum(records), 0)::bigint as records from gone
    """  # noqa: S608


ESTIMATE = "select reltuples::bigint from pg_class where oid = $1::regclass"
COUNT_BATCHED = "select coalesce(sum(count), 0) from outlast.task_batches"


def first_kept(table: str) -> str:
    """$1: how many are kept."""
    return f"select id from outlast.{table} order by id desc offset $1 - 1 limit 1"  # noqa: S608


FIRST_KEPT_TASK = """
    with bound as (
        select id from (
            select id, sum(count) over (order by id desc rows unbounded preceding) as newer from (
                select id, 1 as count from outlast.single_tasks
                union all select last_id, count from outlast.task_batches
            ) as tasks
        ) as counted
        where newer >= $1 order by id desc limit 1
    )
    select id from bound
    union all select batch.first_id from outlast.task_batches as batch, bound where batch.last_id >= bound.id
    order by 1 limit 1
"""
"""As `first_kept`. Batches stay whole, so there can be some more."""
