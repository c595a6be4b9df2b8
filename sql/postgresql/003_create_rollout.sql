-- unhush: apart
-- unhush: works-with-code 0
-- The roll-out: the name of this environment, the flags that services ask, and the stage that is reached.
-- Equal to runtime/flag_tables.py; a test holds both together.
--
-- It is applied by `unhush rollout init` alone, and no other migration needs it.
-- squawk-ignore-file prefer-text-field, prefer-bigint-over-int, require-concurrent-index-creation

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

CREATE TABLE IF NOT EXISTS unhush_environment (
    id integer NOT NULL,
    name varchar(255) NOT NULL,
    gated boolean NOT NULL,
    set_by varchar(255) NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT pk_unhush_environment PRIMARY KEY (id),
    CONSTRAINT ck_unhush_environment_id CHECK (id = 1)
);

COMMENT ON TABLE unhush_environment IS 'what this database belongs to; one row';
COMMENT ON COLUMN unhush_environment.gated IS 'whether its migrations and stages need approvals';
COMMENT ON COLUMN unhush_environment.set_at IS 'by the database''s clock';

CREATE TABLE IF NOT EXISTS unhush_flag (
    name varchar(255) NOT NULL,
    state varchar(64) NOT NULL,
    percentage double precision NOT NULL,
    salt varchar(255) NOT NULL,
    version bigint NOT NULL,
    changed_by varchar(255) NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT pk_unhush_flag PRIMARY KEY (name),
    CONSTRAINT ck_unhush_flag_state CHECK (state IN ('on', 'off')),
    CONSTRAINT ck_unhush_flag_percentage CHECK (percentage >= 0 AND percentage <= 100)
);

COMMENT ON TABLE unhush_flag IS 'feature flags; without a row the service''s own variable decides';
COMMENT ON COLUMN unhush_flag.state IS 'off: for no job, whatever the percentage says';
COMMENT ON COLUMN unhush_flag.percentage IS 'the part of all jobs for which it is on';
COMMENT ON COLUMN unhush_flag.salt IS 'which jobs these are; another salt chooses others';
COMMENT ON COLUMN unhush_flag.version IS 'grows with every change';
COMMENT ON COLUMN unhush_flag.changed_at IS 'by the database''s clock';

CREATE TABLE IF NOT EXISTS unhush_rollout (
    id integer NOT NULL,
    plan_id varchar(255) NOT NULL,
    plan_digest varchar(64) NOT NULL,
    stage integer NOT NULL,
    status varchar(64) NOT NULL,
    stage_since timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    looks integer NOT NULL,
    looked_at timestamptz,
    silent_since timestamptz,
    fence bigint NOT NULL,
    holder varchar(255),
    lease_until timestamptz,
    note text,
    CONSTRAINT pk_unhush_rollout PRIMARY KEY (id),
    CONSTRAINT ck_unhush_rollout_id CHECK (id = 1),
    CONSTRAINT ck_unhush_rollout_status CHECK (status IN ('running', 'paused', 'rolled_back', 'done'))
);

COMMENT ON TABLE unhush_rollout IS 'the roll-out that is under way, or was last; one row';
COMMENT ON COLUMN unhush_rollout.stage_since IS 'by the database''s clock';
COMMENT ON COLUMN unhush_rollout.changed_at IS 'by the database''s clock; it never goes back';
COMMENT ON COLUMN unhush_rollout.looks IS 'how many of its fixed looks at the gates this stage has had';
COMMENT ON COLUMN unhush_rollout.looked_at IS 'the last time that its gates were looked at';
COMMENT ON COLUMN unhush_rollout.silent_since IS 'since when a gate has no data';
COMMENT ON COLUMN unhush_rollout.fence IS 'grows with every change of holder and every act';
COMMENT ON COLUMN unhush_rollout.holder IS 'who acts on it now';

CREATE TABLE IF NOT EXISTS unhush_rollout_event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    act varchar(64) NOT NULL,
    actor varchar(255) NOT NULL,
    plan_digest varchar(64) NOT NULL,
    stage integer NOT NULL,
    fence bigint NOT NULL,
    detail jsonb NOT NULL,
    CONSTRAINT pk_unhush_rollout_event PRIMARY KEY (id)
);

COMMENT ON TABLE unhush_rollout_event IS 'what was done to the roll-out; never changed';
COMMENT ON COLUMN unhush_rollout_event.at IS 'by the database''s clock';
COMMENT ON COLUMN unhush_rollout_event.stage IS 'the stage after the act';
COMMENT ON COLUMN unhush_rollout_event.detail IS 'the gates with their values, redacted';
