-- Drops the dead letter queue with all its letters and their history.

DROP TABLE IF EXISTS job_dlq_token;
DROP TABLE IF EXISTS job_dlq_operation;
DROP TABLE IF EXISTS job_dlq_event;
DROP TABLE IF EXISTS job_dlq;
