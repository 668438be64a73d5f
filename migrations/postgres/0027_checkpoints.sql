-- Signed checkpoints of the ledger and the full tiles of its tree. Both are only ever appended to.

CREATE TABLE audit_checkpoints (
    incarnation uuid NOT NULL,
    size bigint NOT NULL CHECK (size > 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    -- The signed note, as it is served and published.
    note text NOT NULL,
    signed_at timestamptz NOT NULL,
    PRIMARY KEY (incarnation, size)
);

-- The 256 hashes of a full tile, and their root, which is one hash of the tile above.
CREATE TABLE audit_tiles (
    incarnation uuid NOT NULL,
    level integer NOT NULL CHECK (level BETWEEN 0 AND 7),
    number bigint NOT NULL CHECK (number >= 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    PRIMARY KEY (incarnation, level, number)
);

CREATE FUNCTION audit_checkpoints_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER audit_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION audit_checkpoints_append_only();
CREATE TRIGGER audit_tiles_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_tiles
    FOR EACH STATEMENT EXECUTE FUNCTION audit_checkpoints_append_only();

-- A checkpoint is never followed by one that is not larger. Signers exclude each other, so that none is overlooked.
CREATE FUNCTION audit_checkpoints_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM audit_checkpoints c WHERE c.incarnation = NEW.incarnation AND c.size >= NEW.size
    ) THEN
        RAISE EXCEPTION 'audit_checkpoints: a checkpoint of % entries or more exists', NEW.size
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_checkpoints_grow() SET search_path = %I, pg_temp', current_schema());
END $$;
CREATE TRIGGER audit_checkpoints_grow BEFORE INSERT ON audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION audit_checkpoints_grow();
