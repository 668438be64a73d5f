-- Messages for the ledger that could not become entries, for whoever looks after them. The messages themselves are in the
-- queue's dead-letter queue.

CREATE TABLE audit_rejections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL CONSTRAINT uq_audit_rejections_message UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('invalid', 'conflict', 'refused')),
    reason TEXT NOT NULL,
    -- The start of the body, and how long all of it is.
    body TEXT NOT NULL,
    body_bytes INTEGER NOT NULL,
    times_seen INTEGER NOT NULL DEFAULT 1,
    first_seen_at TEXT NOT NULL,
    last_seen_at TEXT NOT NULL
);
