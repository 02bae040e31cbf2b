-- Under load nearly all tasks are fulfilled, and there are many of one worker and one name. Each such lot is one row of
-- arrays, which costs PostgreSQL a fifth of what as many rows do. All other tasks have a row of their own, as before.
alter table outlast.tasks rename to single_tasks;

create table outlast.task_batches (
    last_id uuid primary key,  -- the greatest of `ids`; none of `request_ids` was made in a later millisecond
    first_id uuid not null,  -- nothing in `ids` and `request_ids` is less; it was made less than 5 s before last_id
    function text not null,
    language text not null,
    name text,
    execution_id uuid not null,
    node uuid not null,
    count integer not null,
    -- One element for each task, in any order. All were fulfilled, and were started when their ids were made.
    ids uuid[] not null,
    request_ids uuid[] not null,
    settled timestamptz[] not null,
    ms double precision[] not null
);
-- Compressing them takes longer than everything else.
alter table outlast.task_batches
    alter ids set storage external,
    alter request_ids set storage external,
    alter settled set storage external,
    alter ms set storage external;
create index task_batches_by_function on outlast.task_batches (function, last_id);
create index task_batches_by_name on outlast.task_batches (name, last_id) where name is not null;

-- When a UUID of version 7 was made, in milliseconds since 1970; and as a time.
create function outlast.unix_ms(id uuid) returns bigint
language sql immutable strict parallel safe as $$
    select ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint
$$;
create function outlast.made_at(id uuid) returns timestamptz
language sql immutable strict parallel safe as $$
    select to_timestamp(outlast.unix_ms(id) / 1000.0::double precision)
$$;
-- What was made less than 5 s after it is less than this.
create function outlast.five_seconds_after(id uuid) returns uuid
language sql immutable strict parallel safe as $$
    select (lpad(to_hex(least(outlast.unix_ms(id) + 5000, 281474976710655)), 12, '0') || repeat('0', 20))::uuid
$$;

-- What it says of batches, `tasks_of` below and outlast/ledger/queries.py say as well.
create view outlast.tasks as
    select id, function, language, name, request_id, execution_id, node, started, settled, outcome, reason, error, ms, cpu_ms
    from outlast.single_tasks
    union all
    select task.id, batch.function, batch.language, batch.name, task.request_id::text, batch.execution_id, batch.node,
        outlast.made_at(task.id), task.settled, 'fulfilled', null, null, task.ms, null
    from outlast.task_batches as batch,
        unnest(batch.ids, batch.request_ids, batch.settled, batch.ms)
            as task (id, request_id, settled, ms);

-- Finds them without reading all batches, as a condition on the view would.
create function outlast.tasks_of(request uuid) returns setof outlast.tasks
language sql stable as $$
    select id, function, language, name, request_id, execution_id, node, started, settled, outcome, reason, error, ms, cpu_ms
    from outlast.single_tasks
    where request_id = request::text
        and (id between (left(request::text, 10) || '000-0000-0000-000000000000')::uuid
                and (left(request::text, 10) || 'fff-ffff-ffff-ffffffffffff')::uuid
            or left(request_id, 10) <> left(id::text, 10))
    union all
    select task.id, batch.function, batch.language, batch.name, task.request_id::text, batch.execution_id, batch.node,
        outlast.made_at(task.id), task.settled, 'fulfilled', null, null, task.ms, null
    from outlast.task_batches as batch,
        unnest(batch.ids, batch.request_ids, batch.settled, batch.ms)
            as task (id, request_id, settled, ms)
    where batch.last_id >= (left(request::text, 13) || '-0000-0000-000000000000')::uuid
        and batch.last_id < outlast.five_seconds_after(request)
        and batch.first_id <= request and request = any(batch.request_ids) and task.request_id = request
$$;

-- Whoever could read the tasks still can.
do $$
declare
    reader text;
begin
    for reader in
        select distinct case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end
        from pg_class, aclexplode(relacl)
        where oid = 'outlast.single_tasks'::regclass and privilege_type = 'SELECT' and grantee <> relowner
    loop
        execute format('grant select on outlast.tasks, outlast.task_batches to %s', reader);
    end loop;
end
$$;
