-- What ended executions bound is kept until it is too old or too much.
ALTER TABLE executions ADD COLUMN kept_bytes BIGINT;
ALTER TABLE executions ADD COLUMN erased_at BIGINT;
CREATE INDEX executions_kept ON executions (ended_at, id) WHERE kept_bytes IS NOT NULL;
CREATE INDEX executions_kept_of ON executions (agent, ended_at, id) WHERE kept_bytes IS NOT NULL
