-- Takes heartbeats out of a user's own table again: what was there before the upgrade stays. SQLite writes each row
-- anew for that.
-- unhush: refused-while jobs beat: SELECT 1 FROM unhush_job WHERE status = 'running' AND strftime('%s', 'now') - strftime('%s', beat_at) < every * 4 LIMIT 1

-- unhush: if index
DROP INDEX IF EXISTS @index@;

-- unhush: if heartbeat_fence
ALTER TABLE @table@ DROP COLUMN heartbeat_fence;

-- unhush: if heartbeat_at
ALTER TABLE @table@ DROP COLUMN heartbeat_at;
