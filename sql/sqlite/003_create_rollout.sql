-- unhush: apart
-- unhush: works-with-code 0
-- The roll-out: the name of this environment, the flags that services ask, and the stage that is reached.
-- Equal to runtime/flag_tables.py; a test holds both together.
--
-- It is applied by `unhush rollout init` alone, and no other migration needs it. SQLite keeps no comments on tables and
-- columns, so they stand beside them.

-- what this database belongs to; one row
CREATE TABLE IF NOT EXISTS unhush_environment (
    id integer NOT NULL,
    name varchar(255) NOT NULL,
    gated boolean NOT NULL, -- whether its migrations and stages need approvals
    set_by varchar(255) NOT NULL,
    set_at datetime NOT NULL, -- by the database's clock
    CONSTRAINT pk_unhush_environment PRIMARY KEY (id),
    CONSTRAINT ck_unhush_environment_id CHECK (id = 1)
);

-- feature flags; without a row the service's own variable decides
CREATE TABLE IF NOT EXISTS unhush_flag (
    name varchar(255) NOT NULL,
    state varchar(64) NOT NULL, -- off: for no job, whatever the percentage says
    percentage double NOT NULL, -- the part of all jobs for which it is on
    salt varchar(255) NOT NULL, -- which jobs these are; another salt chooses others
    version bigint NOT NULL, -- grows with every change
    changed_by varchar(255) NOT NULL,
    changed_at datetime NOT NULL, -- by the database's clock
    CONSTRAINT pk_unhush_flag PRIMARY KEY (name),
    CONSTRAINT ck_unhush_flag_state CHECK (state IN ('on', 'off')),
    CONSTRAINT ck_unhush_flag_percentage CHECK (percentage >= 0 AND percentage <= 100)
);

-- the roll-out that is under way, or was last; one row
CREATE TABLE IF NOT EXISTS unhush_rollout (
    id integer NOT NULL,
    plan_id varchar(255) NOT NULL,
    plan_digest varchar(64) NOT NULL,
    stage integer NOT NULL,
    status varchar(64) NOT NULL,
    stage_since datetime NOT NULL, -- by the database's clock
    changed_at datetime NOT NULL, -- by the database's clock; it never goes back
    looks integer NOT NULL, -- how many of its fixed looks at the gates this stage has had
    looked_at datetime, -- the last time that its gates were looked at
    silent_since datetime, -- since when a gate has no data
    fence bigint NOT NULL, -- grows with every change of holder and every act
    holder varchar(255), -- who acts on it now
    lease_until datetime,
    note text,
    CONSTRAINT pk_unhush_rollout PRIMARY KEY (id),
    CONSTRAINT ck_unhush_rollout_id CHECK (id = 1),
    CONSTRAINT ck_unhush_rollout_status CHECK (status IN ('running', 'paused', 'rolled_back', 'done'))
);

-- what was done to the roll-out; never changed
CREATE TABLE IF NOT EXISTS unhush_rollout_event (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    at datetime NOT NULL, -- by the database's clock
    act varchar(64) NOT NULL,
    actor varchar(255) NOT NULL,
    plan_digest varchar(64) NOT NULL,
    stage integer NOT NULL, -- the stage after the act
    fence bigint NOT NULL,
    detail text NOT NULL -- the gates with their values, redacted
);
