-- The time of each state of the registry, by the clock of the database: taken in the transaction of the append, never
-- before that of the state before. The times in entries are those of processes, from the start of each change.

CREATE TABLE registry_times (
    -- The newest entry about the registry of one append: the revision that the append made.
    sequence INTEGER PRIMARY KEY,
    -- The revision before it.
    previous INTEGER NOT NULL,
    -- The last entry of that append.
    head INTEGER NOT NULL UNIQUE,
    recorded_at TEXT NOT NULL
);
CREATE INDEX ix_registry_times_recorded ON registry_times (recorded_at, sequence);

-- The newest entry about the registry, and the time, when this migration ran: migration 31 adds the states up to it.
ALTER TABLE history_head ADD COLUMN timed_after INTEGER NOT NULL DEFAULT 0;
ALTER TABLE history_head ADD COLUMN timed_since TEXT NOT NULL DEFAULT '2000-01-01T00:00:00.000000Z';
UPDATE history_head SET timed_since = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'),
    timed_after = (SELECT r.registry_sequence FROM registry_head r WHERE r.id = 1);

-- Entries of one append are inserted one by one, after the head has moved to the last of them: they share a row.
CREATE TRIGGER registry_head_timed AFTER UPDATE OF registry_sequence ON registry_head
WHEN NEW.registry_sequence > OLD.registry_sequence
BEGIN
    INSERT INTO registry_times (sequence, previous, head, recorded_at)
    SELECT NEW.registry_sequence, OLD.registry_sequence, h.sequence, max(
        strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'), x.timed_since,
        coalesce((SELECT t.recorded_at FROM registry_times t ORDER BY t.sequence DESC LIMIT 1), '')
    )
    FROM history_head x CROSS JOIN audit_chain_head h WHERE x.id = 1 AND h.id = 1
    ON CONFLICT (head) DO UPDATE SET sequence = excluded.sequence;
END;
