-- A new incarnation of the ledger (`epr ledger reincarnate`) invalidates every cached decision: cached answers name the
-- revision that they rest on, and caches may hold decisions on changes that a restore has undone.

-- Appends take this table's lock first, and registry_head later.
LOCK TABLE audit_chain_head IN EXCLUSIVE MODE;

CREATE TRIGGER registry_head_decisions AFTER UPDATE OF incarnation ON registry_head
    FOR EACH ROW EXECUTE FUNCTION epr_policy_changed();
ALTER TABLE registry_head ENABLE ALWAYS TRIGGER registry_head_decisions;
