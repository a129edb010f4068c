ALTER TABLE executions ADD COLUMN triggered_by TEXT NOT NULL DEFAULT 'manual';
ALTER TABLE agents ADD COLUMN next_run_at BIGINT;
ALTER TABLE agents ADD COLUMN last_woken_at BIGINT
