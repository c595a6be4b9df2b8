-- The dead letter queue: letters, their history, bulk acts, and the tokens of the admin API.
-- Equal to runtime/tables.py; a test holds both together.
--
-- Each table is one statement with its indexes: MariaDB commits after each, so none stays half made. It has no
-- partial indexes. `json` is longtext in utf8mb4_bin with a CHECK (json_valid(...)).

CREATE TABLE IF NOT EXISTS job_dlq (
    id char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'UUIDv7: letters in order of capture',
    queue varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    job_name varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    job_id varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
        COMMENT 'the job''s own id; null where it has none, so each failure is new',
    identity varchar(64) CHARACTER SET ascii COLLATE ascii_bin
        COMMENT 'SHA-256 of queue, job id, attempts and redrive number; null without a job id',
    status varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attempts integer NOT NULL,
    redrives integer NOT NULL DEFAULT 0 COMMENT 'how often it was put back to work',
    fence bigint NOT NULL DEFAULT 0 COMMENT 'grows with every claim and change of status',
    lease_until datetime(6) COMMENT 'until when a redrive may hold it, by the database''s clock',
    claimed_by varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'the process that redrives it',
    transactional boolean NOT NULL DEFAULT false
        COMMENT 'its redrive is one transaction, so a cut-off one did not happen',
    operation_id char(36) CHARACTER SET ascii COLLATE ascii_bin COMMENT 'the bulk act that holds it',
    fingerprint varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'same bug, same fingerprint',
    error_type varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    first_failed_at datetime(6) NOT NULL,
    failed_at datetime(6) NOT NULL COMMENT 'the last failure',
    captured_at datetime(6) NOT NULL COMMENT 'by the database''s clock',
    changed_at datetime(6) NOT NULL COMMENT 'by the database''s clock',
    seen_at datetime(6) COMMENT 'when somebody first looked at it',
    redrivable boolean NOT NULL COMMENT 'whether the stored payload is the job''s own',
    host varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    process varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    code_version varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    trace_id varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    error_message longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    changed_paths json COMMENT 'where redaction, truncation or repr changed the payload',
    headers json NOT NULL,
    traceback longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    payload json COMMENT 'what may be shown; also what a redrive runs, unless secret_payload is there',
    secret_payload longblob COMMENT 'the whole payload, encrypted',
    PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_identity UNIQUE (identity),
    CONSTRAINT ck_job_dlq_status CHECK (status IN ('dead', 'redriving', 'in_doubt', 'redriven', 'parked', 'discarded')),
    INDEX ix_job_dlq_status_id (status, id),
    INDEX ix_job_dlq_queue_status_id (queue, status, id),
    INDEX ix_job_dlq_status_fingerprint_id (status, fingerprint, id),
    INDEX ix_job_dlq_queue_job_id_id (queue, job_id, id),
    INDEX ix_job_dlq_operation_id_status_id (operation_id, status, id),
    INDEX ix_job_dlq_lease_until (lease_until)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'dead letters: jobs that failed for good';

CREATE TABLE IF NOT EXISTS job_dlq_event (
    id bigint NOT NULL AUTO_INCREMENT,
    letter_id char(36) CHARACTER SET ascii COLLATE ascii_bin,
    operation_id char(36) CHARACTER SET ascii COLLATE ascii_bin,
    capture_id char(36) CHARACTER SET ascii COLLATE ascii_bin
        COMMENT 'the captured failure, so that none counts twice',
    kind varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at datetime(6) NOT NULL COMMENT 'by the database''s clock',
    actor varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    reason longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    fence bigint,
    detail json COMMENT 'redacted',
    PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_event_capture_id UNIQUE (capture_id),
    INDEX ix_job_dlq_event_letter_id_id (letter_id, id),
    INDEX ix_job_dlq_event_operation_id_kind_id (operation_id, kind, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'history and audit of dead letters; kept when a letter is purged';

CREATE TABLE IF NOT EXISTS job_dlq_operation (
    id char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'UUIDv7',
    kind varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'redrive, discard, restore or purge',
    status varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    actor varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    reason longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    idempotency_key varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
        COMMENT 'the caller''s; the same key is the same act',
    request_digest varchar(64) CHARACTER SET ascii COLLATE ascii_bin
        COMMENT 'SHA-256 of what was asked for under that key',
    total bigint NOT NULL COMMENT 'letters that matched when it began',
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0,
    lease_until datetime(6),
    claimed_by varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    started_at datetime(6) NOT NULL,
    changed_at datetime(6) NOT NULL,
    note longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'why it was stopped or paused',
    filter json NOT NULL,
    options json NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_operation_idempotency_key UNIQUE (idempotency_key),
    CONSTRAINT ck_job_dlq_operation_status CHECK (status IN ('running', 'paused', 'stopped', 'cancelled', 'done')),
    INDEX ix_job_dlq_operation_status_id (status, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'bulk acts on dead letters';

CREATE TABLE IF NOT EXISTS job_dlq_token (
    id char(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'UUIDv7',
    name varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    role varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    token_hash varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
        COMMENT 'SHA-256 of a random token of 256 bits, as hex',
    created_at datetime(6) NOT NULL,
    expires_at datetime(6),
    revoked_at datetime(6),
    last_used_at datetime(6),
    PRIMARY KEY (id),
    CONSTRAINT uq_job_dlq_token_name UNIQUE (name),
    CONSTRAINT uq_job_dlq_token_token_hash UNIQUE (token_hash),
    CONSTRAINT ck_job_dlq_token_role CHECK (role IN ('viewer', 'operator'))
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'tokens of the admin API, hashed';
