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

CREATE TABLE snapshots (
    stream TEXT PRIMARY KEY,
    n BIGINT NOT NULL,
    version BIGINT NOT NULL,
    body BYTEA NOT NULL,
    mac BYTEA NOT NULL
);

CREATE TABLE owed (
    kind TEXT NOT NULL,
    axis TEXT NOT NULL,
    due BIGINT NOT NULL,
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (kind, axis, due, stream, key)
) {clustered};
CREATE INDEX owed_by_stream ON owed (stream, kind);

CREATE TABLE payloads (hash BYTEA PRIMARY KEY, salt BYTEA NOT NULL, size BIGINT NOT NULL, bytes BYTEA);

CREATE TABLE macs (of_table TEXT NOT NULL, key TEXT NOT NULL, mac BYTEA NOT NULL, PRIMARY KEY (of_table, key)) {clustered};

CREATE TABLE holders (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    holder TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) {clustered};

CREATE TABLE counters (
    counter TEXT NOT NULL,
    key TEXT NOT NULL,
    bucket BIGINT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (counter, key, bucket)
) {clustered};

CREATE TABLE entries (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    version BIGINT NOT NULL,
    value BYTEA NOT NULL,
    size BIGINT NOT NULL,
    owner TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (namespace, key)
) {clustered};

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
    name TEXT NOT NULL,
    folded TEXT NOT NULL,
    listed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    at BIGINT NOT NULL,
    state TEXT NOT NULL,
    supervised TEXT,
    revision BIGINT NOT NULL,
    home TEXT,
    open BIGINT NOT NULL,
    last_started_at BIGINT,
    last_ended_at BIGINT
);
CREATE UNIQUE INDEX agents_by_name ON agents (folded);
CREATE INDEX agents_by_short ON agents (substr(id, 23));

CREATE TABLE revisions (
    agent TEXT NOT NULL,
    number BIGINT NOT NULL,
    version TEXT,
    digest BYTEA NOT NULL,
    manifest BYTEA NOT NULL,
    plan BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (agent, number)
) {clustered};

CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    agent_name TEXT NOT NULL,
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
    connection TEXT,
    worker TEXT,
    wall TEXT NOT NULL,
    input BYTEA NOT NULL,
    output BYTEA,
    started_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX executions_by_short ON executions (substr(id, 23));
CREATE INDEX executions_by_agent ON executions (agent, id);
CREATE INDEX executions_open ON executions (agent, id) WHERE ended_at IS NULL;
CREATE INDEX executions_by_status ON executions (status, id);
CREATE INDEX executions_by_connection ON executions (connection) WHERE connection IS NOT NULL;

CREATE TABLE iterations (
    execution TEXT NOT NULL,
    number BIGINT NOT NULL,
    status TEXT NOT NULL,
    cause TEXT,
    turns BIGINT NOT NULL,
    clock TEXT NOT NULL,
    output BYTEA,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
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
    attributes BYTEA NOT NULL,
    shown TEXT NOT NULL,
    state TEXT NOT NULL,
    rules TEXT,
    called_at BIGINT,
    ended_at BIGINT,
    outcome TEXT,
    exit_code BIGINT,
    result BYTEA,
    detail TEXT,
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
    connection TEXT,
    slots BIGINT NOT NULL,
    host BYTEA,
    at BIGINT NOT NULL
);
