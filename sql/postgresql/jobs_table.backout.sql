-- unhush: no-transaction
-- Takes heartbeats out of a user's own table again: what was there before the upgrade stays.
-- unhush: refused-while jobs beat: SELECT 1 FROM unhush_job WHERE status = 'running' AND beat_at > clock_timestamp() - make_interval(secs => every * 4) LIMIT 1
-- squawk-ignore-file ban-drop-column

SET lock_timeout = '60s';
SET statement_timeout = 0;

-- unhush: if index
DROP INDEX CONCURRENTLY IF EXISTS @index_in_schema@;

SET lock_timeout = '500ms';
SET statement_timeout = '60s';

-- unhush: if fillfactor 70
-- squawk-ignore prefer-robust-stmts
ALTER TABLE @table@ RESET (fillfactor);

-- unhush: if heartbeat_fence
ALTER TABLE @table@ DROP COLUMN IF EXISTS heartbeat_fence;

-- unhush: if heartbeat_at
ALTER TABLE @table@ DROP COLUMN IF EXISTS heartbeat_at;

RESET lock_timeout;
RESET statement_timeout;
