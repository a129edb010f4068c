-- Secrets as lists show them, and who may use which where. No value stands here, nor a key that opens one.
CREATE TABLE secrets (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    sealed BYTEA,
    previous BYTEA,
    set_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX secrets_name ON secrets (name);
CREATE TABLE secret_bindings (
    secret TEXT NOT NULL,
    agent TEXT NOT NULL,
    capability TEXT NOT NULL,
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    actor TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (secret, agent, capability, host)
);
CREATE INDEX secret_bindings_agent ON secret_bindings (agent, name)
