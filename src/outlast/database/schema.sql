CREATE SCHEMA outlast;
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
CREATE TABLE outlast.tasks (
    id uuid NOT NULL,
    function text NOT NULL,
    language text NOT NULL,
    name text,
    request_id text,
    execution_id uuid NOT NULL,
    node uuid NOT NULL,
    started timestamp with time zone NOT NULL,
    settled timestamp with time zone,
    outcome text,
    reason text,
    error text,
    ms double precision,
    cpu_ms double precision
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
ALTER TABLE ONLY outlast.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY outlast.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);
CREATE INDEX requests_by_function ON outlast.requests USING btree (function, id);
CREATE INDEX requests_failed ON outlast.requests USING btree (status, id) WHERE ((status >= 400) OR (status = 0));
CREATE INDEX tasks_by_function ON outlast.tasks USING btree (function, id);
CREATE INDEX tasks_by_function_and_outcome ON outlast.tasks USING btree (function, outcome, id) WHERE (outcome <> 'fulfilled'::text);
CREATE INDEX tasks_by_name ON outlast.tasks USING btree (name, id) WHERE (name IS NOT NULL);
CREATE INDEX tasks_by_name_and_outcome ON outlast.tasks USING btree (name, outcome, id) WHERE ((outcome <> 'fulfilled'::text) AND (name IS NOT NULL));
CREATE INDEX tasks_by_outcome ON outlast.tasks USING btree (outcome, id) WHERE (outcome <> 'fulfilled'::text);
CREATE INDEX tasks_by_reason ON outlast.tasks USING btree (reason, id) WHERE (reason IS NOT NULL);
CREATE INDEX tasks_of_earlier_requests ON outlast.tasks USING btree (request_id, id) WHERE ((request_id IS NOT NULL) AND ("left"(request_id, 10) <> "left"((id)::text, 10)));
CREATE INDEX tasks_open ON outlast.tasks USING btree (id) WHERE (outcome IS NULL);
CREATE INDEX workers_by_function ON outlast.workers USING btree (function, id);
CREATE INDEX workers_open ON outlast.workers USING btree (id) WHERE (ended IS NULL);
