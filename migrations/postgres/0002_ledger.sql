-- The audit ledger: a hash chain that is only ever appended to.

CREATE TABLE audit_logs (
    sequence bigint PRIMARY KEY CHECK (sequence > 0),
    previous_hash text NOT NULL CHECK (char_length(previous_hash) = 64),
    entry_hash text NOT NULL CHECK (char_length(entry_hash) = 64),
    hash_version integer NOT NULL,
    event_id uuid,
    source text NOT NULL,
    action text NOT NULL,
    actor_id uuid,
    actor_type text NOT NULL,
    entity_id uuid,
    entity_type text,
    correlation_id text,
    -- json, not jsonb: the exact text that was hashed. jsonb reorders keys and rewrites numbers.
    details json NOT NULL,
    occurred_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX uq_audit_logs_event ON audit_logs (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX ix_audit_logs_entity ON audit_logs (entity_id, sequence) WHERE entity_id IS NOT NULL;
CREATE INDEX ix_audit_logs_actor ON audit_logs (actor_id, sequence) WHERE actor_id IS NOT NULL;
CREATE INDEX ix_audit_logs_correlation ON audit_logs (correlation_id, sequence) WHERE correlation_id IS NOT NULL;
CREATE INDEX ix_audit_logs_action ON audit_logs (action, sequence);
-- Entries arrive nearly in the order of their time, which is what a BRIN index lives on.
CREATE INDEX ix_audit_logs_occurred ON audit_logs USING brin (occurred_at);

-- The end of the chain. Its row is the ledger's lock; it exists from the start, because a row that is not there cannot be locked.
CREATE TABLE audit_chain_head (
    id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    sequence bigint NOT NULL,
    entry_hash text NOT NULL
);
INSERT INTO audit_chain_head (sequence, entry_hash)
VALUES (0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE FUNCTION audit_logs_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_logs is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER audit_logs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION audit_logs_append_only();
