-- Drops heartbeats and what the watchdog remembers.
-- unhush: refused-while jobs beat: SELECT 1 FROM unhush_job WHERE status = 'running' AND TIMESTAMPDIFF(SECOND, beat_at, UTC_TIMESTAMP(6)) < every * 4 LIMIT 1

DROP TABLE IF EXISTS unhush_watchdog;
DROP TABLE IF EXISTS unhush_job_letter;
DROP TABLE IF EXISTS unhush_job;
DROP TABLE IF EXISTS unhush_process;
