-- A session has a jail while its calls need one.
ALTER TABLE sessions ADD COLUMN calls BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN waiting_since BIGINT;
ALTER TABLE sessions ADD COLUMN jails BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN revision BIGINT;
ALTER TABLE sessions ADD COLUMN connection TEXT;
ALTER TABLE sessions ADD COLUMN jail_ends BIGINT NOT NULL DEFAULT 0;
CREATE INDEX sessions_waiting ON sessions (agent, id) WHERE waiting_since IS NOT NULL;
CREATE INDEX sessions_bound ON sessions (connection, jail_ends) WHERE connection IS NOT NULL;
CREATE INDEX sessions_bound_of ON sessions (agent, jail_ends) WHERE connection IS NOT NULL
