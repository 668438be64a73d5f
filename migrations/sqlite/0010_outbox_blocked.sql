-- Claims look at the first events of ordering keys only, however many events wait behind them.
--
-- `blocked` means: an earlier event with the same ordering key is pending. It is a hint that may be missing and must never be
-- there without such an event, because claims do not look at blocked events. Claims check for earlier events all the same.

ALTER TABLE platform_events ADD COLUMN blocked BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE platform_events SET blocked = TRUE
WHERE delivery_state = 'pending' AND ordering_key IS NOT NULL AND lease_token IS NULL
  AND position > (
      SELECT min(o.position) FROM platform_events o
      WHERE o.ordering_key = platform_events.ordering_key AND o.delivery_state = 'pending'
  );
CREATE INDEX ix_platform_events_claimable ON platform_events (next_attempt_at, position)
    WHERE delivery_state = 'pending' AND NOT blocked;

CREATE TRIGGER platform_events_inserted AFTER INSERT ON platform_events
WHEN NEW.delivery_state = 'pending' AND NEW.ordering_key IS NOT NULL AND NEW.lease_token IS NULL BEGIN
    UPDATE platform_events SET blocked = TRUE
    WHERE position = NEW.position AND EXISTS (
        SELECT 1 FROM platform_events e
        WHERE e.ordering_key = NEW.ordering_key AND e.delivery_state = 'pending' AND e.position < NEW.position
    );
END;
CREATE TRIGGER platform_events_completed AFTER UPDATE OF delivery_state, ordering_key ON platform_events
WHEN OLD.delivery_state = 'pending' AND OLD.ordering_key IS NOT NULL
    AND (NEW.delivery_state <> 'pending' OR NEW.ordering_key IS NOT OLD.ordering_key) BEGIN
    UPDATE platform_events SET blocked = FALSE WHERE position = (
        SELECT min(e.position) FROM platform_events e
        WHERE e.ordering_key = OLD.ordering_key AND e.delivery_state = 'pending'
    );
END;
CREATE TRIGGER platform_events_deleted AFTER DELETE ON platform_events
WHEN OLD.delivery_state = 'pending' AND OLD.ordering_key IS NOT NULL BEGIN
    UPDATE platform_events SET blocked = FALSE WHERE position = (
        SELECT min(e.position) FROM platform_events e
        WHERE e.ordering_key = OLD.ordering_key AND e.delivery_state = 'pending'
    );
END;
