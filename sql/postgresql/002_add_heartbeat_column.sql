-- unhush: works-with-code 1
-- Heartbeats: the processes that run jobs, the latest run of each job, and the watchdog that looks for dead ones.
-- Equal to runtime/beat_tables.py; a test holds both together.
--
-- The tables are new, so nobody waits for a lock on them. `beat_at` is in no index and more than half of each page stays
-- free, so that all its rows can beat at once beside the old ones: a beat is a heap-only update, which writes to no index.
-- squawk-ignore-file prefer-text-field, prefer-bigint-over-int, require-concurrent-index-creation

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE IF NOT EXISTS unhush_process (
    id uuid NOT NULL,
    name varchar(255),
    host varchar(255) NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    every double precision NOT NULL,
    loop_lag_ms double precision,
    stopped_at timestamptz,
    CONSTRAINT pk_unhush_process PRIMARY KEY (id)
)
WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

COMMENT ON TABLE unhush_process IS 'processes that run jobs, and their proof of life';
COMMENT ON COLUMN unhush_process.id IS 'UUIDv7, a fresh one at each start and after each fork';
COMMENT ON COLUMN unhush_process.name IS 'what the process is, as its owner calls it';
COMMENT ON COLUMN unhush_process.beat_at IS 'by the database''s clock';
COMMENT ON COLUMN unhush_process.every IS 'seconds between two beats';
COMMENT ON COLUMN unhush_process.loop_lag_ms IS 'how late its slowest event loop is; null without one';
COMMENT ON COLUMN unhush_process.stopped_at IS 'when it said that it ends';

CREATE TABLE IF NOT EXISTS unhush_job (
    id uuid NOT NULL,
    kind varchar(255) NOT NULL,
    job_id varchar(255) NOT NULL,
    process_id uuid NOT NULL,
    fence bigint NOT NULL,
    status varchar(64) NOT NULL,
    rescues integer NOT NULL,
    started_at timestamptz NOT NULL,
    beat_at timestamptz NOT NULL,
    every double precision NOT NULL,
    progress double precision,
    progress_at timestamptz NOT NULL,
    stalled_after double precision,
    deadline_at timestamptz,
    orphaned_at timestamptz,
    suspected_at timestamptz,
    suspected_state varchar(64),
    reported_state varchar(64),
    ended_at timestamptz,
    note varchar(255),
    variant varchar(255),
    CONSTRAINT pk_unhush_job PRIMARY KEY (id),
    CONSTRAINT uq_unhush_job_kind_job_id UNIQUE (kind, job_id),
    CONSTRAINT ck_unhush_job_status CHECK (status IN ('running', 'rescuing', 'given_away', 'finished', 'failed', 'parked'))
)
WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

CREATE INDEX IF NOT EXISTS ix_unhush_job_status_id ON unhush_job (status, id)
    WHERE status IN ('running', 'rescuing');
CREATE INDEX IF NOT EXISTS ix_unhush_job_ended_at ON unhush_job (ended_at) WHERE ended_at IS NOT NULL;

COMMENT ON TABLE unhush_job IS 'the latest run of each job: that it lives, and how far it is';
COMMENT ON COLUMN unhush_job.id IS 'UUIDv7';
COMMENT ON COLUMN unhush_job.job_id IS 'the job''s own id';
COMMENT ON COLUMN unhush_job.process_id IS 'the process that runs it, or did last';
COMMENT ON COLUMN unhush_job.fence IS 'grows with every claim and rescue';
COMMENT ON COLUMN unhush_job.rescues IS 'how often the watchdog gave it away in a row';
COMMENT ON COLUMN unhush_job.beat_at IS 'by the database''s clock';
COMMENT ON COLUMN unhush_job.every IS 'seconds between two beats';
COMMENT ON COLUMN unhush_job.progress IS 'a number that changes as the job gets on';
COMMENT ON COLUMN unhush_job.progress_at IS 'when it last changed';
COMMENT ON COLUMN unhush_job.stalled_after IS 'seconds without progress after which it counts as stalled';
COMMENT ON COLUMN unhush_job.deadline_at IS 'when it should have ended';
COMMENT ON COLUMN unhush_job.orphaned_at IS 'when its process saw that its thread had gone';
COMMENT ON COLUMN unhush_job.suspected_at IS 'the watchdog''s first look at it in a bad state';
COMMENT ON COLUMN unhush_job.reported_state IS 'the state that was reported, so that each is logged once';
COMMENT ON COLUMN unhush_job.note IS 'what the job says of itself';
COMMENT ON COLUMN unhush_job.variant IS 'which setting of the flag let it beat';

CREATE TABLE IF NOT EXISTS unhush_job_letter (
    job uuid NOT NULL,
    fence bigint NOT NULL,
    record jsonb NOT NULL,
    CONSTRAINT pk_unhush_job_letter PRIMARY KEY (job)
)
WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

COMMENT ON TABLE unhush_job_letter IS 'the dead letter that a running job would be; deleted when it ends';
COMMENT ON COLUMN unhush_job_letter.job IS 'the row in unhush_job';
COMMENT ON COLUMN unhush_job_letter.fence IS 'the run that it is of';
COMMENT ON COLUMN unhush_job_letter.record IS 'redacted, and encrypted where its queue does that';

CREATE TABLE IF NOT EXISTS unhush_watchdog (
    name varchar(255) NOT NULL,
    holder uuid NOT NULL,
    host varchar(255) NOT NULL,
    pid integer NOT NULL,
    fence bigint NOT NULL,
    lease_until timestamptz NOT NULL,
    last_run_at timestamptz NOT NULL,
    gap double precision NOT NULL,
    steady_since timestamptz NOT NULL,
    braked_at timestamptz,
    CONSTRAINT pk_unhush_watchdog PRIMARY KEY (name)
);

COMMENT ON TABLE unhush_watchdog IS 'who watches, and what it must remember';
COMMENT ON COLUMN unhush_watchdog.holder IS 'the watchdog that leads';
COMMENT ON COLUMN unhush_watchdog.fence IS 'grows with every change of leader';
COMMENT ON COLUMN unhush_watchdog.gap IS 'seconds from the run before to the last one';
COMMENT ON COLUMN unhush_watchdog.steady_since IS 'since when runs follow each other: silence before it proves nothing';
COMMENT ON COLUMN unhush_watchdog.braked_at IS 'since when too many jobs are silent at once';
