CREATE TABLE agent_labels (
    agent TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    folded TEXT NOT NULL,
    PRIMARY KEY (agent, key)
) {clustered};
INSERT INTO agent_labels (agent, key, value, folded)
    SELECT agents.id, json_extract(label.value, '$[0]'), json_extract(label.value, '$[1]'), agents.folded
    FROM agents, json_each(agents.listed, '$.labels') AS label;
-- Each in the order of a list, so that a page of it is read and no more.
CREATE INDEX agent_labels_by_value ON agent_labels (key, value, folded, agent);
CREATE INDEX agent_labels_by_key ON agent_labels (key, folded, agent);
ALTER TABLE agents ADD COLUMN status TEXT NOT NULL DEFAULT 'registered';
UPDATE agents SET status = CASE
    WHEN state IN ('deleting', 'archived') THEN 'archived'
    WHEN state IN ('paused', 'revoked') THEN state
    WHEN open > 0 THEN 'active'
    WHEN last_ended_at IS NOT NULL THEN 'idle'
    ELSE 'registered' END;
CREATE INDEX agents_by_status ON agents (status, folded, id)
