-- Signed checkpoints of the ledger and the full tiles of its tree. Both are only ever appended to.

CREATE TABLE audit_checkpoints (
    incarnation TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size > 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    -- The signed note, as it is served and published.
    note TEXT NOT NULL,
    signed_at TEXT NOT NULL,
    PRIMARY KEY (incarnation, size)
);

-- The 256 hashes of a full tile, and their root, which is one hash of the tile above.
CREATE TABLE audit_tiles (
    incarnation TEXT NOT NULL,
    level INTEGER NOT NULL CHECK (level BETWEEN 0 AND 7),
    number INTEGER NOT NULL CHECK (number >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    hashes BLOB NOT NULL CHECK (length(hashes) = 8192),
    PRIMARY KEY (incarnation, level, number)
);

CREATE TRIGGER audit_checkpoints_no_update BEFORE UPDATE ON audit_checkpoints
BEGIN
    SELECT RAISE(ABORT, 'audit_checkpoints is append-only: UPDATE is refused');
END;
CREATE TRIGGER audit_checkpoints_no_delete BEFORE DELETE ON audit_checkpoints
BEGIN
    SELECT RAISE(ABORT, 'audit_checkpoints is append-only: DELETE is refused');
END;
-- Also refuses INSERT OR REPLACE, which would delete without firing a delete trigger.
CREATE TRIGGER audit_checkpoints_grow BEFORE INSERT ON audit_checkpoints
WHEN EXISTS (SELECT 1 FROM audit_checkpoints c WHERE c.incarnation = NEW.incarnation AND c.size >= NEW.size)
BEGIN
    SELECT RAISE(ABORT, 'audit_checkpoints: a checkpoint of as many entries or more exists');
END;

CREATE TRIGGER audit_tiles_no_update BEFORE UPDATE ON audit_tiles
BEGIN
    SELECT RAISE(ABORT, 'audit_tiles is append-only: UPDATE is refused');
END;
CREATE TRIGGER audit_tiles_no_delete BEFORE DELETE ON audit_tiles
BEGIN
    SELECT RAISE(ABORT, 'audit_tiles is append-only: DELETE is refused');
END;
