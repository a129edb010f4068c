ALTER TABLE agents ADD COLUMN messages_waiting BIGINT NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN briefing BYTEA;
CREATE TABLE messages (
    recipient TEXT NOT NULL,
    id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    sender TEXT NOT NULL,
    sender_name TEXT,
    channel TEXT,
    body BYTEA NOT NULL,
    size BIGINT NOT NULL,
    correlation TEXT,
    reply_to TEXT,
    deadline BIGINT,
    hop BIGINT NOT NULL,
    state TEXT NOT NULL,
    cause TEXT,
    holder TEXT,
    answer TEXT,
    expired BIGINT NOT NULL,
    sent_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (recipient, id)
) {clustered};
CREATE INDEX messages_by_id ON messages (id);
CREATE INDEX messages_by_short ON messages (substr(id, 23));
CREATE INDEX messages_waiting ON messages (recipient, priority, seq) WHERE state = 'waiting';
CREATE INDEX messages_dead ON messages (id, recipient) WHERE state = 'dead';
CREATE INDEX messages_unanswered ON messages (recipient, deadline, id)
    WHERE deadline IS NOT NULL AND answer IS NULL AND expired = 0 AND state IN ('waiting', 'received');
CREATE INDEX messages_replies ON messages (reply_to) WHERE reply_to IS NOT NULL;
CREATE INDEX agent_labels_by_agent ON agent_labels (key, value, agent)
