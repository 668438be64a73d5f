-- The last verification of the ledger, for the console. It proves nothing: who can change the ledger can change this.

CREATE TABLE audit_verification (
    id smallint PRIMARY KEY CHECK (id = 1),
    verified_at timestamptz NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    -- What was found first; null when the chain holds.
    finding text
);
