-- unhush: works-with-code 1
-- Heartbeats: the processes that run jobs, the latest run of each job, and the watchdog that looks for dead ones.
-- Equal to runtime/beat_tables.py; a test holds both together.
--
-- SQLite keeps no comments on tables and columns, so they stand beside them. A CHECK is one line.

-- processes that run jobs, and their proof of life
CREATE TABLE IF NOT EXISTS unhush_process (
    id char(36) NOT NULL, -- UUIDv7, a fresh one at each start and after each fork
    name varchar(255), -- what the process is, as its owner calls it
    host varchar(255) NOT NULL,
    pid integer NOT NULL,
    started_at datetime NOT NULL,
    beat_at datetime NOT NULL, -- by the database's clock
    every double NOT NULL, -- seconds between two beats
    loop_lag_ms double, -- how late its slowest event loop is; null without one
    stopped_at datetime, -- when it said that it ends
    CONSTRAINT pk_unhush_process PRIMARY KEY (id)
);

-- the latest run of each job: that it lives, and how far it is
CREATE TABLE IF NOT EXISTS unhush_job (
    id char(36) NOT NULL, -- UUIDv7
    kind varchar(255) NOT NULL,
    job_id varchar(255) NOT NULL, -- the job's own id
    process_id char(36) NOT NULL, -- the process that runs it, or did last
    fence bigint NOT NULL, -- grows with every claim and rescue
    status varchar(64) NOT NULL,
    rescues integer NOT NULL, -- how often the watchdog gave it away in a row
    started_at datetime NOT NULL,
    beat_at datetime NOT NULL, -- by the database's clock
    every double NOT NULL, -- seconds between two beats
    progress double, -- a number that changes as the job gets on
    progress_at datetime NOT NULL, -- when it last changed
    stalled_after double, -- seconds without progress after which it counts as stalled
    deadline_at datetime, -- when it should have ended
    orphaned_at datetime, -- when its process saw that its thread had gone
    suspected_at datetime, -- the watchdog's first look at it in a bad state
    suspected_state varchar(64),
    reported_state varchar(64), -- the state that was reported, so that each is logged once
    ended_at datetime,
    note varchar(255), -- what the job says of itself
    variant varchar(255), -- which setting of the flag let it beat
    CONSTRAINT pk_unhush_job PRIMARY KEY (id),
    CONSTRAINT uq_unhush_job_kind_job_id UNIQUE (kind, job_id),
    CONSTRAINT ck_unhush_job_status CHECK (status IN ('running', 'rescuing', 'given_away', 'finished', 'failed', 'parked'))
);

CREATE INDEX IF NOT EXISTS ix_unhush_job_status_id ON unhush_job (status, id)
    WHERE status IN ('running', 'rescuing');
CREATE INDEX IF NOT EXISTS ix_unhush_job_ended_at ON unhush_job (ended_at) WHERE ended_at IS NOT NULL;

-- the dead letter that a running job would be; deleted when it ends
CREATE TABLE IF NOT EXISTS unhush_job_letter (
    job char(36) NOT NULL, -- the row in unhush_job
    fence bigint NOT NULL, -- the run that it is of
    record text NOT NULL, -- redacted, and encrypted where its queue does that
    CONSTRAINT pk_unhush_job_letter PRIMARY KEY (job)
);

-- who watches, and what it must remember
CREATE TABLE IF NOT EXISTS unhush_watchdog (
    name varchar(255) NOT NULL,
    holder char(36) NOT NULL, -- the watchdog that leads
    host varchar(255) NOT NULL,
    pid integer NOT NULL,
    fence bigint NOT NULL, -- grows with every change of leader
    lease_until datetime NOT NULL,
    last_run_at datetime NOT NULL,
    gap double NOT NULL, -- seconds from the run before to the last one
    steady_since datetime NOT NULL, -- since when runs follow each other: silence before it proves nothing
    braked_at datetime, -- since when too many jobs are silent at once
    CONSTRAINT pk_unhush_watchdog PRIMARY KEY (name)
);
