-- Drops heartbeats and what the watchdog remembers.
-- unhush: refused-while jobs beat: SELECT 1 FROM unhush_job WHERE status = 'running' AND beat_at > clock_timestamp() - make_interval(secs => every * 4) LIMIT 1
-- squawk-ignore-file ban-drop-table

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DROP TABLE IF EXISTS unhush_watchdog;
DROP TABLE IF EXISTS unhush_job_letter;
DROP TABLE IF EXISTS unhush_job;
DROP TABLE IF EXISTS unhush_process;
