-- no-transaction
-- The times of the states before migration 30, as far as their entries say them: the latest time of an entry so far,
-- and at most the time of that migration. Written while others append.
INSERT INTO registry_times (sequence, previous, head, recorded_at)
SELECT l.sequence, lag(l.sequence, 1, 0::bigint) OVER (ORDER BY l.sequence), l.sequence,
    least(max(l.occurred_at) OVER (ORDER BY l.sequence), x.timed_since)
FROM audit_logs l CROSS JOIN history_head x
WHERE x.id = 1 AND l.sequence <= x.timed_after AND l.source = 'entity_permissions_core' AND l.event_id IS NULL
    AND (l.action ~ '^(entity|role|role_assignment|principal|registry)[.]' OR l.action = 'ledger.reincarnate')
ON CONFLICT DO NOTHING;

-- It found the state of a time by the times in entries.
DROP INDEX CONCURRENTLY IF EXISTS ix_audit_logs_registry_time;
