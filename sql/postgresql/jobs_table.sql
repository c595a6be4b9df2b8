-- unhush: no-transaction
-- Shows in a jobs table of the user's own which jobs run, and when each was last heard of.
--
-- A statement is left out where all is there that its `unless` names, or nothing that its `if` names. No row is
-- rewritten, and a statement that would stop others gives up its place in the queue after half a second, to try again.
-- `heartbeat_at` is in no index, nor in an index's condition, so that a beat is a heap-only update. The fence is there
-- while a job runs and changes twice a run: running rows can be found by it.

SET lock_timeout = '500ms';
SET statement_timeout = '60s';

-- unhush: unless heartbeat_at, heartbeat_fence
ALTER TABLE @table@
    ADD COLUMN IF NOT EXISTS heartbeat_at timestamptz,
    ADD COLUMN IF NOT EXISTS heartbeat_fence bigint;

-- Room for a beat beside its row, on pages that are filled from now on.
-- unhush: unless fillfactor
-- squawk-ignore prefer-robust-stmts
ALTER TABLE @table@ SET (fillfactor = 70);

-- These two stop nobody while they wait for transactions that are open, and take as long as the table is large.
SET lock_timeout = '60s';
SET statement_timeout = 0;

-- unhush: if invalid index
DROP INDEX CONCURRENTLY IF EXISTS @index_in_schema@;

-- unhush: unless index
CREATE INDEX CONCURRENTLY IF NOT EXISTS @index@ ON @table@ (@key@) WHERE heartbeat_fence IS NOT NULL;

RESET lock_timeout;
RESET statement_timeout;
