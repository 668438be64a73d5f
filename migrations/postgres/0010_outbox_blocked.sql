-- Claims look at the first events of ordering keys only, however many events wait behind them.
--
-- `blocked` means: an earlier event with the same ordering key is pending. It is a hint that may be missing and must never be
-- there without such an event, because claims do not look at blocked events. Claims check for earlier events all the same.

-- Nothing may change between the events that are marked here and the triggers that remove the marks.
LOCK TABLE platform_events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE platform_events ADD COLUMN blocked boolean NOT NULL DEFAULT false;
UPDATE platform_events e SET blocked = true
WHERE e.delivery_state = 'pending' AND e.ordering_key IS NOT NULL AND e.lease_token IS NULL
  AND e.position > (
      SELECT min(o.position) FROM platform_events o
      WHERE o.ordering_key = e.ordering_key AND o.delivery_state = 'pending'
  );
CREATE INDEX ix_platform_events_claimable ON platform_events (next_attempt_at, position)
    WHERE delivery_state = 'pending' AND NOT blocked;

-- Plans of functions are kept for as long as a session lives, also when they were made on an empty table. The queries below can
-- be answered in order by one index only (ix_platform_events_key): an equality would make the order by position alone enough, and
-- another index would be read from its end until the key is found.

-- Marks a new event with at least two pending events before it. The newest of them is locked until this transaction ends, so that
-- it cannot be completed without seeing the new event; when it is locked already, a relay sets the mark later. With fewer events
-- before it, the lock would delay the completion of the one that is being delivered.
CREATE FUNCTION epr_event_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    earlier bigint[];
BEGIN
    NEW.blocked := false;
    IF NEW.delivery_state <> 'pending' OR NEW.ordering_key IS NULL OR NEW.lease_token IS NOT NULL THEN
        RETURN NEW;
    END IF;
    earlier := ARRAY(
        SELECT e.position FROM platform_events e
        WHERE e.ordering_key >= NEW.ordering_key AND e.ordering_key <= NEW.ordering_key
          AND e.delivery_state = 'pending' AND e.position < NEW.position
        ORDER BY e.ordering_key DESC, e.position DESC LIMIT 2
    );
    IF cardinality(earlier) = 2 THEN
        PERFORM 1 FROM platform_events e
        WHERE e.position = earlier[1] AND e.ordering_key = NEW.ordering_key AND e.delivery_state = 'pending'
        FOR SHARE SKIP LOCKED;
        NEW.blocked := FOUND;
    END IF;
    RETURN NEW;
END $$;

-- Removes the mark of the next event of the key. The update waits for a relay that is about to set it.
CREATE FUNCTION epr_event_completed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE platform_events SET blocked = false WHERE ordering_key = OLD.ordering_key AND position = (
        SELECT e.position FROM platform_events e
        WHERE e.ordering_key >= OLD.ordering_key AND e.ordering_key <= OLD.ordering_key AND e.delivery_state = 'pending'
        ORDER BY e.ordering_key, e.position LIMIT 1
    );
    RETURN NULL;
END $$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION epr_event_inserted() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION epr_event_completed() SET search_path = %I, pg_temp', current_schema());
END $$;

CREATE TRIGGER platform_events_inserted BEFORE INSERT ON platform_events
    FOR EACH ROW EXECUTE FUNCTION epr_event_inserted();
CREATE TRIGGER platform_events_completed AFTER UPDATE OF delivery_state, ordering_key ON platform_events
    FOR EACH ROW WHEN (
        OLD.delivery_state = 'pending' AND OLD.ordering_key IS NOT NULL
        AND (NEW.delivery_state <> 'pending' OR NEW.ordering_key IS DISTINCT FROM OLD.ordering_key)
    ) EXECUTE FUNCTION epr_event_completed();
CREATE TRIGGER platform_events_deleted AFTER DELETE ON platform_events
    FOR EACH ROW WHEN (OLD.delivery_state = 'pending' AND OLD.ordering_key IS NOT NULL)
    EXECUTE FUNCTION epr_event_completed();
ALTER TABLE platform_events ENABLE ALWAYS TRIGGER platform_events_inserted;
ALTER TABLE platform_events ENABLE ALWAYS TRIGGER platform_events_completed;
ALTER TABLE platform_events ENABLE ALWAYS TRIGGER platform_events_deleted;
