-- unhush: no-transaction
-- Shows in a jobs table of the user's own which jobs run, and when each was last heard of.
--
-- A statement is left out where all is there that its `unless` names. No row is rewritten, and the statement gives up
-- its place in the queue after a second, to try again. MariaDB has no partial indexes, and one over all rows would
-- cost each beat a write: there is none.

SET SESSION lock_wait_timeout = 1;

-- unhush: unless heartbeat_at, heartbeat_fence
ALTER TABLE @table@
    ADD COLUMN IF NOT EXISTS heartbeat_at datetime(6) NULL DEFAULT NULL,
    ADD COLUMN IF NOT EXISTS heartbeat_fence bigint NULL DEFAULT NULL,
    ALGORITHM = INSTANT;

SET SESSION lock_wait_timeout = DEFAULT;
