-- The sessions of browsers in the console, for every process of a deployment. A row holds nothing with which a session
-- could be taken over: the id is known to the browser only, and the key of the seal is derived from it.

CREATE TABLE browser_sessions (
    -- The SHA-256 of the id.
    session_key bytea PRIMARY KEY CHECK (octet_length(session_key) = 32),
    -- The SHA-256 of the caller that logged in.
    caller bytea NOT NULL CHECK (octet_length(caller) = 32),
    sealed_credential bytea NOT NULL,
    begun_at timestamptz NOT NULL,
    used_at timestamptz NOT NULL
);
CREATE INDEX ix_browser_sessions_caller ON browser_sessions (caller, used_at);
CREATE INDEX ix_browser_sessions_used ON browser_sessions (used_at);
