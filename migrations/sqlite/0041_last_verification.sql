-- The last verification of the ledger, for the console. It proves nothing: who can change the ledger can change this.

CREATE TABLE audit_verification (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    verified_at TEXT NOT NULL,
    first_sequence INTEGER NOT NULL,
    last_sequence INTEGER NOT NULL,
    -- What was found first; null when the chain holds.
    finding TEXT
);
