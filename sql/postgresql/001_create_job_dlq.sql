-- The dead letter queue: letters, their history, bulk acts, and the tokens of the admin API.
-- Equal to runtime/tables.py; a test holds both together.
--
-- Lengths are the same on all three databases, counters of attempts do not run over, and the indexes are made on
-- tables of this same transaction, which nobody writes to yet.
-- squawk-ignore-file prefer-text-field, prefer-bigint-over-int, require-concurrent-index-creation

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE IF NOT EXISTS job_dlq (
    id uuid NOT NULL,
    queue varchar(255) NOT NULL,
    job_name varchar(255) NOT NULL,
    job_id varchar(255),
    identity varchar(64),
    status varchar(64) NOT NULL,
    attempts integer NOT NULL,
    redrives integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    claimed_by varchar(255),
    transactional boolean NOT NULL DEFAULT false,
    operation_id uuid,
    fingerprint varchar(64) NOT NULL,
    error_type varchar(255) NOT NULL,
    first_failed_at timestamptz NOT NULL,
    failed_at timestamptz NOT NULL,
    captured_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    seen_at timestamptz,
    redrivable boolean NOT NULL,
    host varchar(255) NOT NULL,
    process varchar(255) NOT NULL,
    code_version varchar(255),
    trace_id varchar(255),
    error_message text NOT NULL,
    changed_paths jsonb,
    headers jsonb NOT NULL,
    traceback text NOT NULL,
    payload jsonb,
    secret_payload bytea,
    CONSTRAINT pk_job_dlq PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_identity UNIQUE (identity),
    CONSTRAINT ck_job_dlq_status CHECK (status IN ('dead', 'redriving', 'in_doubt', 'redriven', 'parked', 'discarded'))
)
-- A redrive leaves two dead rows behind: vacuum at 2% of millions of letters, not at 20%. The fillfactor stays 100,
-- since nearly every UPDATE moves an indexed column (status, lease_until) and so can't be HOT.
WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

CREATE INDEX IF NOT EXISTS ix_job_dlq_status_id ON job_dlq (status, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_queue_status_id ON job_dlq (queue, status, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_status_fingerprint_id ON job_dlq (status, fingerprint, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_queue_job_id_id ON job_dlq (queue, job_id, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_operation_id_status_id ON job_dlq (operation_id, status, id)
    WHERE operation_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS ix_job_dlq_lease_until ON job_dlq (lease_until) WHERE status = 'redriving';

COMMENT ON TABLE job_dlq IS 'dead letters: jobs that failed for good';
COMMENT ON COLUMN job_dlq.id IS 'UUIDv7: letters in order of capture';
COMMENT ON COLUMN job_dlq.job_id IS 'the job''s own id; null where it has none, so each failure is new';
COMMENT ON COLUMN job_dlq.identity IS
    'SHA-256 of queue, job id, attempts and redrive number; null without a job id';
COMMENT ON COLUMN job_dlq.redrives IS 'how often it was put back to work';
COMMENT ON COLUMN job_dlq.fence IS 'grows with every claim and change of status';
COMMENT ON COLUMN job_dlq.lease_until IS 'until when a redrive may hold it, by the database''s clock';
COMMENT ON COLUMN job_dlq.claimed_by IS 'the process that redrives it';
COMMENT ON COLUMN job_dlq.transactional IS 'its redrive is one transaction, so a cut-off one did not happen';
COMMENT ON COLUMN job_dlq.operation_id IS 'the bulk act that holds it';
COMMENT ON COLUMN job_dlq.fingerprint IS 'same bug, same fingerprint';
COMMENT ON COLUMN job_dlq.failed_at IS 'the last failure';
COMMENT ON COLUMN job_dlq.captured_at IS 'by the database''s clock';
COMMENT ON COLUMN job_dlq.changed_at IS 'by the database''s clock';
COMMENT ON COLUMN job_dlq.seen_at IS 'when somebody first looked at it';
COMMENT ON COLUMN job_dlq.redrivable IS 'whether the stored payload is the job''s own';
COMMENT ON COLUMN job_dlq.changed_paths IS 'where redaction, truncation or repr changed the payload';
COMMENT ON COLUMN job_dlq.payload IS 'what may be shown; also what a redrive runs, unless secret_payload is there';
COMMENT ON COLUMN job_dlq.secret_payload IS 'the whole payload, encrypted';

CREATE TABLE IF NOT EXISTS job_dlq_event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    letter_id uuid,
    operation_id uuid,
    capture_id uuid,
    kind varchar(64) NOT NULL,
    at timestamptz NOT NULL,
    actor varchar(255) NOT NULL,
    reason text,
    fence bigint,
    detail jsonb,
    CONSTRAINT pk_job_dlq_event PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_event_capture_id UNIQUE (capture_id)
);

CREATE INDEX IF NOT EXISTS ix_job_dlq_event_letter_id_id ON job_dlq_event (letter_id, id);
CREATE INDEX IF NOT EXISTS ix_job_dlq_event_operation_id_kind_id ON job_dlq_event (operation_id, kind, id);

COMMENT ON TABLE job_dlq_event IS 'history and audit of dead letters; kept when a letter is purged';
COMMENT ON COLUMN job_dlq_event.capture_id IS 'the captured failure, so that none counts twice';
COMMENT ON COLUMN job_dlq_event.at IS 'by the database''s clock';
COMMENT ON COLUMN job_dlq_event.detail IS 'redacted';

CREATE TABLE IF NOT EXISTS job_dlq_operation (
    id uuid NOT NULL,
    kind varchar(64) NOT NULL,
    status varchar(64) NOT NULL,
    actor varchar(255) NOT NULL,
    reason text,
    idempotency_key varchar(255),
    request_digest varchar(64),
    total bigint NOT NULL,
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    claimed_by varchar(255),
    started_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    note text,
    filter jsonb NOT NULL,
    options jsonb NOT NULL,
    CONSTRAINT pk_job_dlq_operation PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_operation_idempotency_key UNIQUE (idempotency_key),
    CONSTRAINT ck_job_dlq_operation_status CHECK (status IN ('running', 'paused', 'stopped', 'cancelled', 'done'))
);

CREATE INDEX IF NOT EXISTS ix_job_dlq_operation_status_id ON job_dlq_operation (status, id);

COMMENT ON TABLE job_dlq_operation IS 'bulk acts on dead letters';
COMMENT ON COLUMN job_dlq_operation.id IS 'UUIDv7';
COMMENT ON COLUMN job_dlq_operation.kind IS 'redrive, discard, restore or purge';
COMMENT ON COLUMN job_dlq_operation.idempotency_key IS 'the caller''s; the same key is the same act';
COMMENT ON COLUMN job_dlq_operation.request_digest IS 'SHA-256 of what was asked for under that key';
COMMENT ON COLUMN job_dlq_operation.total IS 'letters that matched when it began';
COMMENT ON COLUMN job_dlq_operation.note IS 'why it was stopped or paused';

CREATE TABLE IF NOT EXISTS job_dlq_token (
    id uuid NOT NULL,
    name varchar(255) NOT NULL,
    role varchar(64) NOT NULL,
    token_hash varchar(64) NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT pk_job_dlq_token PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_token_name UNIQUE (name),
    CONSTRAINT uq_job_dlq_token_token_hash UNIQUE (token_hash),
    CONSTRAINT ck_job_dlq_token_role CHECK (role IN ('viewer', 'operator'))
);

COMMENT ON TABLE job_dlq_token IS 'tokens of the admin API, hashed';
COMMENT ON COLUMN job_dlq_token.id IS 'UUIDv7';
COMMENT ON COLUMN job_dlq_token.token_hash IS 'SHA-256 of a random token of 256 bits, as hex';
