-- Drops the environment's name, the flags and the story of the roll-out.
-- unhush: refused-while a roll-out runs or one of its flags is on: SELECT 1 FROM unhush_rollout WHERE status IN ('running', 'paused') UNION ALL SELECT 1 FROM unhush_flag WHERE state = 'on' LIMIT 1

DROP TABLE IF EXISTS unhush_rollout_event;
DROP TABLE IF EXISTS unhush_rollout;
DROP TABLE IF EXISTS unhush_flag;
DROP TABLE IF EXISTS unhush_environment;
