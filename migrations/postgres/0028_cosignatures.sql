-- Cosignatures of witnesses on checkpoints. They are only ever appended.

CREATE TABLE audit_cosignatures (
    incarnation uuid NOT NULL,
    size bigint NOT NULL,
    -- The name of the witness's key.
    witness text NOT NULL,
    -- The signature line, as it is served below the checkpoint.
    line text NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (incarnation, size, witness),
    FOREIGN KEY (incarnation, size) REFERENCES audit_checkpoints (incarnation, size)
);
CREATE TRIGGER audit_cosignatures_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_cosignatures
    FOR EACH STATEMENT EXECUTE FUNCTION audit_checkpoints_append_only();
