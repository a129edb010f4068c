-- The programs of code agents, and the call by which one was told what an attempt wants of it.
ALTER TABLE iterations ADD COLUMN told TEXT;
CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    agent_name TEXT NOT NULL,
    state TEXT NOT NULL,
    why TEXT,
    revision BIGINT NOT NULL,
    starts BIGINT NOT NULL,
    crashes BIGINT NOT NULL,
    crashed_by TEXT,
    messages BIGINT NOT NULL,
    session TEXT,
    created_at BIGINT NOT NULL,
    ready_at BIGINT,
    stopped_at BIGINT,
    health TEXT
);
CREATE INDEX instances_agent ON instances (agent, id)
