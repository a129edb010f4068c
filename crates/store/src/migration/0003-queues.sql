-- A queue an agent, so that a long one delays no other's.
CREATE INDEX executions_queued ON executions (agent, id) WHERE status = 'queued';
