CREATE TABLE ledger (
    project TEXT NOT NULL,
    idx BIGINT NOT NULL,
    stream TEXT NOT NULL,
    n BIGINT NOT NULL,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (project, idx)
);
CREATE UNIQUE INDEX ledger_by_stream ON ledger (stream, n);

CREATE TABLE heads (project TEXT PRIMARY KEY, size BIGINT NOT NULL, frontier BYTEA NOT NULL, signed TEXT NOT NULL);

CREATE TABLE snapshots (stream TEXT PRIMARY KEY, n BIGINT NOT NULL, version BIGINT NOT NULL, body BYTEA NOT NULL);

CREATE TABLE owed (
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (kind, at, stream, key)
) {clustered};

CREATE TABLE payloads (hash BYTEA PRIMARY KEY, salt BYTEA NOT NULL, size BIGINT NOT NULL, bytes BYTEA);

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX keys_by_hash ON keys (hash);

CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    short TEXT NOT NULL,
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    state TEXT NOT NULL,
    revision BIGINT NOT NULL,
    runtime TEXT NOT NULL,
    labels TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT,
    created_at BIGINT NOT NULL,
    at BIGINT NOT NULL
);
CREATE UNIQUE INDEX agents_by_name ON agents (folded);
CREATE INDEX agents_by_short ON agents (short);

CREATE TABLE revisions (
    agent TEXT NOT NULL,
    number BIGINT NOT NULL,
    version TEXT,
    digest BYTEA NOT NULL,
    manifest BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (agent, number)
) {clustered};

CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    short TEXT NOT NULL,
    agent TEXT NOT NULL,
    revision BIGINT NOT NULL,
    status TEXT NOT NULL,
    waiting_for TEXT,
    cancel_requested BIGINT NOT NULL,
    reason TEXT,
    detail TEXT,
    iterations BIGINT NOT NULL,
    max_iterations BIGINT NOT NULL,
    tool_calls BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    micro_usd BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    session TEXT,
    worker TEXT,
    wall_used_ms BIGINT NOT NULL,
    input BYTEA NOT NULL,
    output BYTEA,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    at BIGINT NOT NULL
);
CREATE INDEX executions_by_short ON executions (short);
CREATE INDEX executions_by_agent ON executions (agent, id);
CREATE INDEX executions_by_end ON executions (agent, ended_at);
CREATE INDEX executions_by_status ON executions (status, id);
CREATE INDEX executions_by_session ON executions (session) WHERE session IS NOT NULL;

CREATE TABLE twins (
    agent TEXT NOT NULL,
    key BYTEA NOT NULL,
    execution TEXT NOT NULL,
    PRIMARY KEY (agent, key)
) {clustered};

CREATE TABLE iterations (
    execution TEXT NOT NULL,
    number BIGINT NOT NULL,
    status TEXT NOT NULL,
    cause TEXT,
    turns BIGINT NOT NULL,
    used_ms BIGINT NOT NULL,
    output BYTEA,
    started_at BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (execution, number)
) {clustered};

CREATE TABLE turns (
    execution TEXT NOT NULL,
    iteration BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    delta BYTEA NOT NULL,
    output BYTEA,
    model TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    micro_usd BIGINT,
    took_ms BIGINT NOT NULL,
    cassette BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (execution, iteration, turn)
) {clustered};

CREATE TABLE notes (
    execution TEXT NOT NULL,
    iteration BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY (execution, iteration, turn, note)
) {clustered};

CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    execution TEXT NOT NULL,
    iteration BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    validator BIGINT NOT NULL,
    capability TEXT NOT NULL,
    arguments BYTEA NOT NULL,
    path TEXT,
    command TEXT,
    bytes BIGINT,
    state TEXT NOT NULL,
    rules TEXT,
    called_at BIGINT,
    ended_at BIGINT,
    outcome TEXT,
    exit_code BIGINT,
    result BYTEA,
    level TEXT,
    sentence TEXT
) {clustered};
CREATE INDEX calls_by_turn ON calls (execution, iteration, turn, ordinal);

CREATE TABLE validations (
    execution TEXT NOT NULL,
    iteration BIGINT NOT NULL,
    place BIGINT NOT NULL,
    validator TEXT NOT NULL,
    pass BIGINT NOT NULL,
    score_milli BIGINT NOT NULL,
    reasons BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (execution, iteration, place)
) {clustered};

CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    fence BIGINT NOT NULL,
    session TEXT,
    slots BIGINT NOT NULL,
    at BIGINT NOT NULL
);
