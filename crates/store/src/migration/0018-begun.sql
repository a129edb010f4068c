-- Executions between two iterations, which go before those that have not begun.
CREATE INDEX executions_begun ON executions (agent, id) WHERE status = 'queued' AND iterations > 0
