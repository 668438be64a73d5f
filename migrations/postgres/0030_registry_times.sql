-- The time of each state of the registry, by the clock of the database: taken under the ledger's lock, never before
-- that of the state before. The times in entries are those of processes, from the start of each change.

-- Appends take this table's lock first: every entry is either before this migration or has its time by the trigger.
LOCK TABLE audit_chain_head IN EXCLUSIVE MODE;

CREATE TABLE registry_times (
    -- The newest entry about the registry of one append: the revision that the append made.
    sequence bigint PRIMARY KEY,
    -- The revision before it.
    previous bigint NOT NULL,
    -- The last entry of that append.
    head bigint NOT NULL UNIQUE,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX ix_registry_times_recorded ON registry_times (recorded_at, sequence);

-- The newest entry about the registry, and the time, when this migration ran: migration 31 adds the states up to it.
ALTER TABLE history_head ADD COLUMN timed_after bigint NOT NULL DEFAULT 0;
ALTER TABLE history_head ADD COLUMN timed_since timestamptz NOT NULL DEFAULT '2000-01-01Z';
UPDATE history_head SET timed_since = clock_timestamp(),
    timed_after = (SELECT r.registry_sequence FROM registry_head r WHERE r.id = 1);

CREATE FUNCTION registry_head_timed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO registry_times (sequence, previous, head, recorded_at)
    SELECT NEW.registry_sequence, OLD.registry_sequence, h.sequence, greatest(
        clock_timestamp(), x.timed_since,
        (SELECT t.recorded_at FROM registry_times t ORDER BY t.sequence DESC LIMIT 1)
    )
    FROM history_head x CROSS JOIN audit_chain_head h WHERE x.id = 1 AND h.id = 1
    ON CONFLICT (head) DO UPDATE SET sequence = EXCLUDED.sequence;
    RETURN NULL;
END $$;
CREATE TRIGGER registry_head_timed AFTER UPDATE OF registry_sequence ON registry_head
FOR EACH ROW WHEN (NEW.registry_sequence > OLD.registry_sequence) EXECUTE FUNCTION registry_head_timed();

-- Functions with the rights of their owner must not find tables of others, temporary ones included.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION registry_head_timed() SET search_path = %I, pg_temp', current_schema());
END $$;
