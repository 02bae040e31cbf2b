CREATE SCHEMA outlast;
CREATE FUNCTION outlast.five_seconds_after(id uuid) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    select (lpad(to_hex(least(outlast.unix_ms(id) + 5000, 281474976710655)), 12, '0') || repeat('0', 20))::uuid
$$;
CREATE FUNCTION outlast.made_at(id uuid) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    select to_timestamp(outlast.unix_ms(id) / 1000.0::double precision)
$$;
CREATE TABLE outlast.single_tasks (
    id uuid CONSTRAINT tasks_id_not_null NOT NULL,
    function text CONSTRAINT tasks_function_not_null NOT NULL,
    language text CONSTRAINT tasks_language_not_null NOT NULL,
    name text,
    request_id text,
    execution_id uuid CONSTRAINT tasks_execution_id_not_null NOT NULL,
    node uuid CONSTRAINT tasks_node_not_null NOT NULL,
    started timestamp with time zone CONSTRAINT tasks_started_not_null NOT NULL,
    settled timestamp with time zone,
    outcome text,
    reason text,
    error text,
    ms double precision,
    cpu_ms double precision
);
CREATE TABLE outlast.task_batches (
    last_id uuid NOT NULL,
    first_id uuid NOT NULL,
    function text NOT NULL,
    language text NOT NULL,
    name text,
    execution_id uuid NOT NULL,
    node uuid NOT NULL,
    count integer NOT NULL,
    ids uuid[] NOT NULL,
    request_ids uuid[] NOT NULL,
    settled timestamp with time zone[] NOT NULL,
    ms double precision[] NOT NULL
);
ALTER TABLE ONLY outlast.task_batches ALTER COLUMN ids SET STORAGE EXTERNAL;
ALTER TABLE ONLY outlast.task_batches ALTER COLUMN request_ids SET STORAGE EXTERNAL;
ALTER TABLE ONLY outlast.task_batches ALTER COLUMN settled SET STORAGE EXTERNAL;
ALTER TABLE ONLY outlast.task_batches ALTER COLUMN ms SET STORAGE EXTERNAL;
CREATE VIEW outlast.tasks AS
 SELECT single_tasks.id,
    single_tasks.function,
    single_tasks.language,
    single_tasks.name,
    single_tasks.request_id,
    single_tasks.execution_id,
    single_tasks.node,
    single_tasks.started,
    single_tasks.settled,
    single_tasks.outcome,
    single_tasks.reason,
    single_tasks.error,
    single_tasks.ms,
    single_tasks.cpu_ms
   FROM outlast.single_tasks
UNION ALL
 SELECT task.id,
    batch.function,
    batch.language,
    batch.name,
    (task.request_id)::text AS request_id,
    batch.execution_id,
    batch.node,
    outlast.made_at(task.id) AS started,
    task.settled,
    'fulfilled'::text AS outcome,
    NULL::text AS reason,
    NULL::text AS error,
    task.ms,
    NULL::double precision AS cpu_ms
   FROM outlast.task_batches batch,
    LATERAL UNNEST(batch.ids, batch.request_ids, batch.settled, batch.ms) task(id, request_id, settled, ms);
CREATE FUNCTION outlast.tasks_of(request uuid) RETURNS SETOF outlast.tasks
    LANGUAGE sql STABLE
    AS $$
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
CREATE FUNCTION outlast.unix_ms(id uuid) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
    select ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint
$$;
CREATE TABLE outlast.migrations (
    number integer NOT NULL,
    name text NOT NULL,
    applied timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE outlast.nodes (
    id uuid NOT NULL,
    started timestamp with time zone NOT NULL,
    last_seen timestamp with time zone NOT NULL,
    ended timestamp with time zone
);
CREATE TABLE outlast.requests (
    id uuid NOT NULL,
    function text,
    execution_id uuid,
    node uuid NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    status integer NOT NULL,
    received timestamp with time zone NOT NULL,
    first_byte_ms double precision,
    ms double precision NOT NULL,
    error text
);
CREATE TABLE outlast.workers (
    id uuid NOT NULL,
    function text NOT NULL,
    language text NOT NULL,
    node uuid NOT NULL,
    started timestamp with time zone NOT NULL,
    ready timestamp with time zone,
    ended timestamp with time zone,
    reason text,
    error text,
    requests bigint NOT NULL,
    tasks bigint NOT NULL,
    ms double precision,
    cpu_ms double precision,
    memory_mb double precision
);
ALTER TABLE ONLY outlast.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);
ALTER TABLE ONLY outlast.nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (id);
ALTER TABLE ONLY outlast.requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (id);
ALTER TABLE ONLY outlast.task_batches
    ADD CONSTRAINT task_batches_pkey PRIMARY KEY (last_id);
ALTER TABLE ONLY outlast.single_tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY outlast.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);
CREATE INDEX requests_by_function ON outlast.requests USING btree (function, id);
CREATE INDEX requests_failed ON outlast.requests USING btree (status, id) WHERE ((status >= 400) OR (status = 0));
CREATE INDEX task_batches_by_function ON outlast.task_batches USING btree (function, last_id);
CREATE INDEX task_batches_by_name ON outlast.task_batches USING btree (name, last_id) WHERE (name IS NOT NULL);
CREATE INDEX tasks_by_function ON outlast.single_tasks USING btree (function, id);
CREATE INDEX tasks_by_function_and_outcome ON outlast.single_tasks USING btree (function, outcome, id) WHERE (outcome <> 'fulfilled'::text);
CREATE INDEX tasks_by_name ON outlast.single_tasks USING btree (name, id) WHERE (name IS NOT NULL);
CREATE INDEX tasks_by_name_and_outcome ON outlast.single_tasks USING btree (name, outcome, id) WHERE ((outcome <> 'fulfilled'::text) AND (name IS NOT NULL));
CREATE INDEX tasks_by_outcome ON outlast.single_tasks USING btree (outcome, id) WHERE (outcome <> 'fulfilled'::text);
CREATE INDEX tasks_by_reason ON outlast.single_tasks USING btree (reason, id) WHERE (reason IS NOT NULL);
CREATE INDEX tasks_of_earlier_requests ON outlast.single_tasks USING btree (request_id, id) WHERE ((request_id IS NOT NULL) AND ("left"(request_id, 10) <> "left"((id)::text, 10)));
CREATE INDEX tasks_open ON outlast.single_tasks USING btree (id) WHERE (outcome IS NULL);
CREATE INDEX workers_by_function ON outlast.workers USING btree (function, id);
CREATE INDEX workers_open ON outlast.workers USING btree (id) WHERE (ended IS NULL);
