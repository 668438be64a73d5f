-- The first answers of creations under an idempotency key, kept for a day. A row is written with the creation, in its
-- transaction; later creations remove old rows.

CREATE TABLE idempotency_keys (
    -- The caller's credential; the nil UUID without one.
    caller uuid NOT NULL,
    creation text NOT NULL CHECK (creation IN ('entity', 'role', 'assignment', 'principal', 'event')),
    idempotency_key text COLLATE "C" NOT NULL CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
    -- Of the body of the request. Null, as the answer is, when the principal that it is about was erased.
    body_sha256 bytea CHECK (octet_length(body_sha256) = 32),
    answer text,
    duplicate text CHECK (duplicate IN ('same', 'different')),
    principal_type text,
    principal_id uuid,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (caller, creation, idempotency_key)
);
CREATE INDEX ix_idempotency_keys_created ON idempotency_keys (created_at);
CREATE INDEX ix_idempotency_keys_principal ON idempotency_keys (principal_id) WHERE principal_id IS NOT NULL;
