-- unhush: no-transaction
-- Takes heartbeats out of a user's own table again: what was there before the upgrade stays.
-- unhush: refused-while jobs beat: SELECT 1 FROM unhush_job WHERE status = 'running' AND TIMESTAMPDIFF(SECOND, beat_at, UTC_TIMESTAMP(6)) < every * 4 LIMIT 1

SET SESSION lock_wait_timeout = 1;

-- unhush: if heartbeat_fence
ALTER TABLE @table@ DROP COLUMN IF EXISTS heartbeat_fence, ALGORITHM = INSTANT;

-- unhush: if heartbeat_at
ALTER TABLE @table@ DROP COLUMN IF EXISTS heartbeat_at, ALGORITHM = INSTANT;

SET SESSION lock_wait_timeout = DEFAULT;
