-- The first answers of creations under an idempotency key, kept for a day. A row is written with the creation, in its
-- transaction; later creations remove old rows.

CREATE TABLE idempotency_keys (
    -- The caller's credential; the nil UUID without one.
    caller TEXT NOT NULL,
    creation TEXT NOT NULL CHECK (creation IN ('entity', 'role', 'assignment', 'principal', 'event')),
    idempotency_key TEXT NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    -- Of the body of the request. Null, as the answer is, when the principal that it is about was erased.
    body_sha256 BLOB CHECK (length(body_sha256) = 32),
    answer TEXT,
    duplicate TEXT CHECK (duplicate IN ('same', 'different')),
    principal_type TEXT,
    principal_id TEXT,
    created_at TEXT NOT NULL,
    PRIMARY KEY (caller, creation, idempotency_key)
);
CREATE INDEX ix_idempotency_keys_created ON idempotency_keys (created_at);
CREATE INDEX ix_idempotency_keys_principal ON idempotency_keys (principal_id) WHERE principal_id IS NOT NULL;
