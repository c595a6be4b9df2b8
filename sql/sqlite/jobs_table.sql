-- Shows in a jobs table of the user's own which jobs run, and when each was last heard of.
--
-- A statement is left out where that is there which its `unless` names: ADD COLUMN has no IF NOT EXISTS here. The fence
-- is there while a job runs and changes twice a run: running rows can be found by it.

-- unhush: unless heartbeat_at
ALTER TABLE @table@ ADD COLUMN heartbeat_at datetime;

-- unhush: unless heartbeat_fence
ALTER TABLE @table@ ADD COLUMN heartbeat_fence bigint;

-- unhush: unless index
CREATE INDEX IF NOT EXISTS @index@ ON @table@ (@key@) WHERE heartbeat_fence IS NOT NULL;
