ALTER TABLE executions ADD COLUMN tokens_estimated BIGINT NOT NULL DEFAULT 0;
UPDATE executions SET tokens_estimated = 1 WHERE EXISTS (
    SELECT 1 FROM ledger WHERE ledger.stream = executions.id AND ledger.kind = 'model.answered'
        AND instr(CAST(ledger.body AS TEXT), '"estimated":true') > 0
)
