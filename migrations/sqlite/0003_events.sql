-- Platform events: what is to be told to the other services, and how far that has come (an outbox).

CREATE TABLE platform_events (
    -- The order in which events were written; within one ordering key also the order in which they are delivered.
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL CONSTRAINT uq_platform_events_id UNIQUE,
    event_id TEXT NOT NULL CONSTRAINT uq_platform_events_event_id UNIQUE,
    event_type TEXT NOT NULL,
    source TEXT NOT NULL,
    payload TEXT NOT NULL,
    context TEXT NOT NULL,
    correlation_id TEXT,
    occurred_at TEXT NOT NULL,
    schema_version TEXT NOT NULL,
    delivery_state TEXT NOT NULL CHECK (delivery_state IN ('pending', 'succeeded', 'failed')),
    delivery_attempts INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    -- Events with the same key are delivered one after the other.
    ordering_key TEXT,
    -- Whether it came from another service; only such events are told apart by source and correlation id.
    ingested BOOLEAN NOT NULL,
    next_attempt_at TEXT NOT NULL,
    -- Who is delivering it, until when. A result counts only under the token it was claimed with.
    lease_until TEXT,
    lease_token TEXT
);
CREATE UNIQUE INDEX uq_platform_events_correlation ON platform_events (source, correlation_id)
    WHERE ingested AND correlation_id IS NOT NULL;
CREATE INDEX ix_platform_events_due ON platform_events (position) WHERE delivery_state = 'pending';
CREATE INDEX ix_platform_events_key ON platform_events (ordering_key, position) WHERE delivery_state = 'pending';
CREATE INDEX ix_platform_events_failed ON platform_events (position) WHERE delivery_state = 'failed';
CREATE INDEX ix_platform_events_newest ON platform_events (occurred_at DESC, id DESC);
CREATE INDEX ix_platform_events_type ON platform_events (event_type, occurred_at DESC, id DESC);
CREATE INDEX ix_platform_events_source ON platform_events (source, occurred_at DESC, id DESC);
