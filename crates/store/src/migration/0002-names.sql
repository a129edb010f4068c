DROP INDEX agents_by_name;
CREATE INDEX agents_by_name ON agents (folded, id);
CREATE UNIQUE INDEX agents_by_present_name ON agents (folded) WHERE state <> 'archived';
DELETE FROM holders WHERE namespace = 'agent_name' AND holder IN (SELECT id FROM agents WHERE state = 'archived');
INSERT INTO counters (counter, key, bucket, value)
    SELECT 'running', agent, 0, count(*) FROM executions WHERE ended_at IS NULL AND iterations > 0 GROUP BY agent
