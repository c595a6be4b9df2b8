-- unhush: works-with-code 1
-- Heartbeats: the processes that run jobs, the latest run of each job, and the watchdog that looks for dead ones.
-- Equal to runtime/beat_tables.py; a test holds both together.
--
-- Each table is one statement with its indexes: MariaDB commits after each, so none stays half made. It has no
-- partial indexes.

CREATE TABLE IF NOT EXISTS unhush_process (
    id char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
        COMMENT 'UUIDv7, a fresh one at each start and after each fork',
    name varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'what the process is, as its owner calls it',
    host varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    pid integer NOT NULL,
    started_at datetime(6) NOT NULL,
    beat_at datetime(6) NOT NULL COMMENT 'by the database''s clock',
    every double NOT NULL COMMENT 'seconds between two beats',
    loop_lag_ms double COMMENT 'how late its slowest event loop is; null without one',
    stopped_at datetime(6) COMMENT 'when it said that it ends',
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'processes that run jobs, and their proof of life';

CREATE TABLE IF NOT EXISTS unhush_job (
    id char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'UUIDv7',
    kind varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    job_id varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'the job''s own id',
    process_id char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'the process that runs it, or did last',
    fence bigint NOT NULL COMMENT 'grows with every claim and rescue',
    status varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    rescues integer NOT NULL COMMENT 'how often the watchdog gave it away in a row',
    started_at datetime(6) NOT NULL,
    beat_at datetime(6) NOT NULL COMMENT 'by the database''s clock',
    every double NOT NULL COMMENT 'seconds between two beats',
    progress double COMMENT 'a number that changes as the job gets on',
    progress_at datetime(6) NOT NULL COMMENT 'when it last changed',
    stalled_after double COMMENT 'seconds without progress after which it counts as stalled',
    deadline_at datetime(6) COMMENT 'when it should have ended',
    orphaned_at datetime(6) COMMENT 'when its process saw that its thread had gone',
    suspected_at datetime(6) COMMENT 'the watchdog''s first look at it in a bad state',
    suspected_state varchar(64) CHARACTER SET ascii COLLATE ascii_bin,
    reported_state varchar(64) CHARACTER SET ascii COLLATE ascii_bin
        COMMENT 'the state that was reported, so that each is logged once',
    ended_at datetime(6),
    note varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'what the job says of itself',
    variant varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'which setting of the flag let it beat',
    PRIMARY KEY (id),
    CONSTRAINT uq_unhush_job_kind_job_id UNIQUE (kind, job_id),
    CONSTRAINT ck_unhush_job_status CHECK (status IN ('running', 'rescuing', 'given_away', 'finished', 'failed', 'parked')),
    INDEX ix_unhush_job_status_id (status, id),
    INDEX ix_unhush_job_ended_at (ended_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'the latest run of each job: that it lives, and how far it is';

CREATE TABLE IF NOT EXISTS unhush_job_letter (
    job char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'the row in unhush_job',
    fence bigint NOT NULL COMMENT 'the run that it is of',
    record json NOT NULL COMMENT 'redacted, and encrypted where its queue does that',
    PRIMARY KEY (job)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'the dead letter that a running job would be; deleted when it ends';

CREATE TABLE IF NOT EXISTS unhush_watchdog (
    name varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    holder char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'the watchdog that leads',
    host varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    pid integer NOT NULL,
    fence bigint NOT NULL COMMENT 'grows with every change of leader',
    lease_until datetime(6) NOT NULL,
    last_run_at datetime(6) NOT NULL,
    gap double NOT NULL COMMENT 'seconds from the run before to the last one',
    steady_since datetime(6) NOT NULL COMMENT 'since when runs follow each other: silence before it proves nothing',
    braked_at datetime(6) COMMENT 'since when too many jobs are silent at once',
    PRIMARY KEY (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'who watches, and what it must remember';
