-- unhush: apart
-- unhush: works-with-code 0
-- The roll-out: the name of this environment, the flags that services ask, and the stage that is reached.
-- Equal to runtime/flag_tables.py; a test holds both together.
--
-- It is applied by `unhush rollout init` alone, and no other migration needs it. Each table is one
-- statement, so that none stays half made: MariaDB commits after each.

CREATE TABLE IF NOT EXISTS unhush_environment (
    id integer NOT NULL,
    name varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    gated boolean NOT NULL COMMENT 'whether its migrations and stages need approvals',
    set_by varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    set_at datetime(6) NOT NULL COMMENT 'by the database''s clock',
    PRIMARY KEY (id),
    CONSTRAINT ck_unhush_environment_id CHECK (id = 1)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'what this database belongs to; one row';

CREATE TABLE IF NOT EXISTS unhush_flag (
    name varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    state varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
        COMMENT 'off: for no job, whatever the percentage says',
    percentage double NOT NULL COMMENT 'the part of all jobs for which it is on',
    salt varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
        COMMENT 'which jobs these are; another salt chooses others',
    version bigint NOT NULL COMMENT 'grows with every change',
    changed_by varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    changed_at datetime(6) NOT NULL COMMENT 'by the database''s clock',
    PRIMARY KEY (name),
    CONSTRAINT ck_unhush_flag_state CHECK (state IN ('on', 'off')),
    CONSTRAINT ck_unhush_flag_percentage CHECK (percentage >= 0 AND percentage <= 100)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'feature flags; without a row the service''s own variable decides';

CREATE TABLE IF NOT EXISTS unhush_rollout (
    id integer NOT NULL,
    plan_id varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    plan_digest varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    stage integer NOT NULL,
    status varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    stage_since datetime(6) NOT NULL COMMENT 'by the database''s clock',
    changed_at datetime(6) NOT NULL COMMENT 'by the database''s clock; it never goes back',
    looks integer NOT NULL COMMENT 'how many of its fixed looks at the gates this stage has had',
    looked_at datetime(6) COMMENT 'the last time that its gates were looked at',
    silent_since datetime(6) COMMENT 'since when a gate has no data',
    fence bigint NOT NULL COMMENT 'grows with every change of holder and every act',
    holder varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'who acts on it now',
    lease_until datetime(6),
    note longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    PRIMARY KEY (id),
    CONSTRAINT ck_unhush_rollout_id CHECK (id = 1),
    CONSTRAINT ck_unhush_rollout_status CHECK (status IN ('running', 'paused', 'rolled_back', 'done'))
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'the roll-out that is under way, or was last; one row';

CREATE TABLE IF NOT EXISTS unhush_rollout_event (
    id bigint NOT NULL AUTO_INCREMENT,
    at datetime(6) NOT NULL COMMENT 'by the database''s clock',
    act varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    actor varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    plan_digest varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    stage integer NOT NULL COMMENT 'the stage after the act',
    fence bigint NOT NULL,
    detail json NOT NULL COMMENT 'the gates with their values, redacted',
    PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'what was done to the roll-out; never changed';
