-- Platform events: what is to be told to the other services, and how far that has come (an outbox).

CREATE TABLE platform_events (
    -- The order in which events were written; within one ordering key also the order in which they are delivered.
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL CONSTRAINT uq_platform_events_id UNIQUE,
    event_id uuid NOT NULL CONSTRAINT uq_platform_events_event_id UNIQUE,
    event_type text NOT NULL,
    source text NOT NULL,
    payload json NOT NULL,
    context json NOT NULL,
    correlation_id text,
    occurred_at timestamptz NOT NULL,
    schema_version text NOT NULL,
    delivery_state text NOT NULL CHECK (delivery_state IN ('pending', 'succeeded', 'failed')),
    delivery_attempts integer NOT NULL DEFAULT 0,
    last_error text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Events with the same key are delivered one after the other.
    ordering_key text,
    -- Whether it came from another service; only such events are told apart by source and correlation id.
    ingested boolean NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    -- Who is delivering it, until when. A result counts only under the token it was claimed with.
    lease_until timestamptz,
    lease_token uuid
);
CREATE UNIQUE INDEX uq_platform_events_correlation ON platform_events (source, correlation_id)
    WHERE ingested AND correlation_id IS NOT NULL;
CREATE INDEX ix_platform_events_due ON platform_events (position) WHERE delivery_state = 'pending';
CREATE INDEX ix_platform_events_key ON platform_events (ordering_key, position) WHERE delivery_state = 'pending';
CREATE INDEX ix_platform_events_failed ON platform_events (position) WHERE delivery_state = 'failed';
CREATE INDEX ix_platform_events_newest ON platform_events (occurred_at DESC, id DESC);
CREATE INDEX ix_platform_events_type ON platform_events (event_type, occurred_at DESC, id DESC);
CREATE INDEX ix_platform_events_source ON platform_events (source, occurred_at DESC, id DESC);
