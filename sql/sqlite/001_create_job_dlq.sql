-- The dead letter queue: letters, their history, bulk acts, and the tokens of the admin API.
-- Equal to runtime/tables.py; a test holds both together.
--
-- Not STRICT: that knows no varchar, datetime or boolean, which SQLAlchemy reads the types back from. JSON stands in text:
-- a column declared json has numeric affinity, which makes 0 of 0.0.
-- SQLite keeps no comments on tables and columns, so they stand beside them.
-- A CHECK is one line, from which SQLAlchemy 2.0 reads it back.

-- dead letters: jobs that failed for good
CREATE TABLE IF NOT EXISTS job_dlq (
    id char(36) NOT NULL, -- UUIDv7: letters in order of capture
    queue varchar(255) NOT NULL,
    job_name varchar(255) NOT NULL,
    job_id varchar(255), -- the job's own id; null where it has none, so each failure is new
    identity varchar(64), -- SHA-256 of queue, job id, attempts and redrive number; null without a job id
    status varchar(64) NOT NULL,
    attempts integer NOT NULL,
    redrives integer NOT NULL DEFAULT 0, -- how often it was put back to work
    fence bigint NOT NULL DEFAULT 0, -- grows with every claim and change of status
    lease_until datetime, -- until when a redrive may hold it, by the database's clock
    claimed_by varchar(255), -- the process that redrives it
    transactional boolean NOT NULL DEFAULT false, -- its redrive is one transaction, so a cut-off one did not happen
    operation_id char(36), -- the bulk act that holds it
    fingerprint varchar(64) NOT NULL, -- same bug, same fingerprint
    error_type varchar(255) NOT NULL,
    first_failed_at datetime NOT NULL,
    failed_at datetime NOT NULL, -- the last failure
    captured_at datetime NOT NULL, -- by the database's clock
    changed_at datetime NOT NULL, -- by the database's clock
    seen_at datetime, -- when somebody first looked at it
    redrivable boolean NOT NULL, -- whether the stored payload is the job's own
    host varchar(255) NOT NULL,
    process varchar(255) NOT NULL,
    code_version varchar(255),
    trace_id varchar(255),
    error_message text NOT NULL,
    changed_paths text, -- where redaction, truncation or repr changed the payload
    headers text NOT NULL,
    traceback text NOT NULL,
    payload text, -- what may be shown; also what a redrive runs, unless secret_payload is there
    secret_payload blob, -- the whole payload, encrypted
    CONSTRAINT pk_job_dlq PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_identity UNIQUE (identity),
    CONSTRAINT ck_job_dlq_status CHECK (status IN ('dead', 'redriving', 'in_doubt', 'redriven', 'parked', 'discarded'))
);

CREATE INDEX IF NOT EXISTS ix_job_dlq_status_id ON job_dlq (status, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_queue_status_id ON job_dlq (queue, status, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_status_fingerprint_id ON job_dlq (status, fingerprint, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_queue_job_id_id ON job_dlq (queue, job_id, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_operation_id_status_id ON job_dlq (operation_id, status, id)
    WHERE operation_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS ix_job_dlq_lease_until ON job_dlq (lease_until) WHERE status = 'redriving';

-- history and audit of dead letters; kept when a letter is purged
CREATE TABLE IF NOT EXISTS job_dlq_event (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    letter_id char(36),
    operation_id char(36),
    capture_id char(36), -- the captured failure, so that none counts twice
    kind varchar(64) NOT NULL,
    at datetime NOT NULL, -- by the database's clock
    actor varchar(255) NOT NULL,
    reason text,
    fence bigint,
    detail text, -- redacted
    CONSTRAINT uq_job_dlq_event_capture_id UNIQUE (capture_id)
);

CREATE INDEX IF NOT EXISTS ix_job_dlq_event_letter_id_id ON job_dlq_event (letter_id, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_event_operation_id_kind_id ON job_dlq_event (operation_id, kind, id);

-- bulk acts on dead letters
CREATE TABLE IF NOT EXISTS job_dlq_operation (
    id char(36) NOT NULL, -- UUIDv7
    kind varchar(64) NOT NULL, -- redrive, discard, restore or purge
    status varchar(64) NOT NULL,
    actor varchar(255) NOT NULL,
    reason text,
    idempotency_key varchar(255), -- the caller's; the same key is the same act
    request_digest varchar(64), -- SHA-256 of what was asked for under that key
    total bigint NOT NULL, -- letters that matched when it began
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    lease_until datetime,
    claimed_by varchar(255),
    started_at datetime NOT NULL,
    changed_at datetime NOT NULL,
    note text, -- why it was stopped or paused
    filter text NOT NULL,
    options text NOT NULL,
    CONSTRAINT pk_job_dlq_operation PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_operation_idempotency_key UNIQUE (idempotency_key),
    CONSTRAINT ck_job_dlq_operation_status CHECK (status IN ('running', 'paused', 'stopped', 'cancelled', 'done'))
);

CREATE INDEX IF NOT EXISTS ix_job_dlq_operation_status_id ON job_dlq_operation (status, id);

-- tokens of the admin API, hashed
CREATE TABLE IF NOT EXISTS job_dlq_token (
    id char(36) NOT NULL, -- UUIDv7
    name varchar(255) NOT NULL,
    role varchar(64) NOT NULL,
    token_hash varchar(64) NOT NULL, -- SHA-256 of a random token of 256 bits, as hex
    created_at datetime NOT NULL,
    expires_at datetime,
    revoked_at datetime,
    last_used_at datetime,
    CONSTRAINT pk_job_dlq_token PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_token_name UNIQUE (name),
    CONSTRAINT uq_job_dlq_token_token_hash UNIQUE (token_hash),
    CONSTRAINT ck_job_dlq_token_role CHECK (role IN ('viewer', 'operator'))
);
