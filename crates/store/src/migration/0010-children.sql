ALTER TABLE executions ADD COLUMN parent TEXT;
CREATE INDEX executions_by_parent ON executions (parent, id) WHERE parent IS NOT NULL
