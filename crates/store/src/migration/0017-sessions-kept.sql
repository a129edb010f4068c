-- What ended sessions bound is kept until it is too old or too much.
ALTER TABLE sessions ADD COLUMN kept_bytes BIGINT;
ALTER TABLE sessions ADD COLUMN erased_at BIGINT;
CREATE INDEX sessions_kept ON sessions (ended_at, id) WHERE kept_bytes IS NOT NULL;
CREATE INDEX sessions_kept_of ON sessions (agent, ended_at, id) WHERE kept_bytes IS NOT NULL
