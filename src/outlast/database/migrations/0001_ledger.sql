-- What became of every background task, every worker and every request; and the nodes that they belong to.

create table outlast.nodes (
    id uuid primary key,
    started timestamptz not null,
    last_seen timestamptz not null,
    ended timestamptz
);

create table outlast.tasks (
    id uuid primary key,  -- version 7: sorts by time
    function text not null,
    language text not null,
    name text,
    request_id text,
    execution_id uuid not null,
    node uuid not null,
    started timestamptz not null,
    settled timestamptz,
    outcome text,  -- null: still open
    reason text,
    error text,
    ms double precision,
    cpu_ms double precision
);

-- Each filter finds its rows in the order of the page, newest first, so that a page costs the same whatever the size of
-- the table. What nearly all tasks do, be fulfilled, is kept out of as many as possible: it is what writing has to pay for.
create index tasks_by_function on outlast.tasks (function, id);
create index tasks_by_name on outlast.tasks (name, id) where name is not null;
create index tasks_by_request on outlast.tasks (request_id, id) where request_id is not null;
create index tasks_by_outcome on outlast.tasks (outcome, id) where outcome <> 'fulfilled';
create index tasks_by_function_and_outcome on outlast.tasks (function, outcome, id) where outcome <> 'fulfilled';
create index tasks_by_name_and_outcome on outlast.tasks (name, outcome, id) where outcome <> 'fulfilled' and name is not null;
create index tasks_by_reason on outlast.tasks (reason, id) where reason is not null;
create index tasks_open on outlast.tasks (id) where outcome is null;

create table outlast.workers (
    id uuid primary key,
    function text not null,
    language text not null,
    node uuid not null,
    started timestamptz not null,
    ready timestamptz,
    ended timestamptz,
    reason text,
    error text,
    requests bigint not null,
    tasks bigint not null,
    ms double precision,
    cpu_ms double precision,
    memory_mb double precision
);

create index workers_by_function on outlast.workers (function, id);
create index workers_open on outlast.workers (id) where ended is null;

create table outlast.requests (
    id uuid primary key,
    function text,
    execution_id uuid,
    node uuid not null,
    method text not null,
    path text not null,
    status integer not null,
    received timestamptz not null,
    first_byte_ms double precision,
    ms double precision not null,
    error text
);

create index requests_by_function on outlast.requests (function, id);
create index requests_failed on outlast.requests (status, id) where status >= 400 or status = 0;
