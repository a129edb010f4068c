CREATE TABLE costs (
    day BIGINT NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    calls BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    micro_usd BIGINT NOT NULL,
    PRIMARY KEY (day, agent, model)
) {clustered};
CREATE INDEX costs_by_agent ON costs (agent, day);
CREATE INDEX executions_by_start ON executions (started_at)
