-- Drops the dead letter queue with all its letters and their history.
--
-- Refused while it holds letters that were neither redriven nor discarded. With psql alone: export them, and then say
-- PGOPTIONS='-c unhush.lose_letters=yes' psql ...
-- squawk-ignore-file ban-drop-table

SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '60s';

DO $$
BEGIN
    IF to_regclass('job_dlq') IS NOT NULL THEN
        LOCK TABLE job_dlq IN ACCESS EXCLUSIVE MODE; -- so that none comes between the look and the drop
        IF coalesce(current_setting('unhush.lose_letters', true), '') <> 'yes'
            AND EXISTS (SELECT 1 FROM job_dlq WHERE status NOT IN ('redriven', 'discarded')) THEN
            RAISE EXCEPTION 'job_dlq holds letters that were neither redriven nor discarded'
                USING HINT = 'Export them with `unhush dlq export`, then set unhush.lose_letters to yes.';
        END IF;
    END IF;
END $$;

DROP TABLE IF EXISTS job_dlq_token;
DROP TABLE IF EXISTS job_dlq_operation;
DROP TABLE IF EXISTS job_dlq_event;
DROP TABLE IF EXISTS job_dlq;
