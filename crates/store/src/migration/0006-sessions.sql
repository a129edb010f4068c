-- A session holds calls as an execution does.
ALTER TABLE calls RENAME COLUMN execution TO holder;
ALTER TABLE agents ADD COLUMN sessions BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agents ADD COLUMN last_session_at BIGINT;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    key TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    heard_at BIGINT NOT NULL,
    invocations BIGINT NOT NULL,
    ending TEXT,
    ended_at BIGINT
);
CREATE INDEX sessions_by_short ON sessions (substr(id, 23));
CREATE INDEX sessions_by_agent ON sessions (agent, id);
CREATE INDEX sessions_live ON sessions (agent, id) WHERE ended_at IS NULL;
CREATE TABLE agent_keys (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    dies_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX agent_keys_by_hash ON agent_keys (hash);
CREATE INDEX agent_keys_by_agent ON agent_keys (agent, id);
CREATE TABLE conversation_turns (
    conversation TEXT NOT NULL,
    turn BIGINT NOT NULL,
    execution TEXT NOT NULL,
    agent TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (conversation, turn)
) {clustered};
CREATE UNIQUE INDEX conversation_turns_by_execution ON conversation_turns (execution);
CREATE INDEX conversations_by_agent ON conversation_turns (agent, conversation) WHERE turn = 1
