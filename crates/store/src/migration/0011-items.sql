CREATE TABLE items (
    kind TEXT NOT NULL,
    agent TEXT NOT NULL,
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    data TEXT NOT NULL,
    text BYTEA,
    detail TEXT,
    due BIGINT,
    at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (kind, agent, id)
) {clustered};
CREATE INDEX items_by_state ON items (kind, state, id);
CREATE INDEX items_of_agent ON items (kind, agent, state, id);
CREATE INDEX items_by_id ON items (kind, id);
CREATE INDEX items_by_short ON items (kind, substr(id, 23))
