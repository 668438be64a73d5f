-- A new incarnation of the ledger (`epr ledger reincarnate`) invalidates every cached decision: cached answers name the
-- revision that they rest on, and caches may hold decisions on changes that a restore has undone.
CREATE TRIGGER registry_head_decisions AFTER UPDATE OF incarnation ON registry_head BEGIN
    INSERT INTO cache_renewals (principal_id) VALUES (NULL);
END;
