-- Messages for the ledger that could not become entries, for whoever looks after them. The messages themselves are in the
-- queue's dead-letter queue.

CREATE TABLE audit_rejections (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id text NOT NULL CONSTRAINT uq_audit_rejections_message UNIQUE,
    kind text NOT NULL CHECK (kind IN ('invalid', 'conflict', 'refused')),
    reason text NOT NULL,
    -- The start of the body, and how long all of it is.
    body text NOT NULL,
    body_bytes bigint NOT NULL,
    times_seen bigint NOT NULL DEFAULT 1,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL
);
