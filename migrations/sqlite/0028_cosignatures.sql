-- Cosignatures of witnesses on checkpoints. They are only ever appended.

CREATE TABLE audit_cosignatures (
    incarnation TEXT NOT NULL,
    size INTEGER NOT NULL,
    -- The name of the witness's key.
    witness TEXT NOT NULL,
    -- The signature line, as it is served below the checkpoint.
    line TEXT NOT NULL,
    received_at TEXT NOT NULL,
    PRIMARY KEY (incarnation, size, witness),
    FOREIGN KEY (incarnation, size) REFERENCES audit_checkpoints (incarnation, size)
);
CREATE TRIGGER audit_cosignatures_no_update BEFORE UPDATE ON audit_cosignatures
BEGIN
    SELECT RAISE(ABORT, 'audit_cosignatures is append-only: UPDATE is refused');
END;
CREATE TRIGGER audit_cosignatures_no_delete BEFORE DELETE ON audit_cosignatures
BEGIN
    SELECT RAISE(ABORT, 'audit_cosignatures is append-only: DELETE is refused');
END;
