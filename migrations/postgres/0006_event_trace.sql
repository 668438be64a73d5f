-- The trace in which an event came to be, passed on with its message however late that is delivered.

ALTER TABLE platform_events ADD COLUMN traceparent text;
