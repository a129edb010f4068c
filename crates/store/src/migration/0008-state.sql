-- Every kept version of a key. The newest is the one that is not superseded, and without a value it marks a key that is gone.
ALTER TABLE entries RENAME TO entries_before;
CREATE TABLE entries (
    home TEXT NOT NULL,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    version BIGINT NOT NULL,
    value BYTEA,
    size BIGINT NOT NULL,
    actor TEXT NOT NULL,
    at BIGINT NOT NULL,
    expires BIGINT,
    superseded BIGINT NOT NULL,
    PRIMARY KEY (namespace, key, version)
) {clustered};
INSERT INTO entries (home, namespace, key, version, value, size, actor, at, expires, superseded)
    SELECT owner, namespace, key, version, value, size, owner, at, NULL, 0 FROM entries_before;
DROP TABLE entries_before;
CREATE INDEX entries_present ON entries (namespace, key) WHERE superseded = 0;
CREATE INDEX entries_history ON entries (namespace, at, key, version) WHERE superseded = 1 OR value IS NULL;
CREATE INDEX entries_expiring ON entries (home, expires, namespace, key) WHERE expires IS NOT NULL AND superseded = 0;
INSERT INTO counters (counter, key, bucket, value)
    SELECT 'state_keys', namespace, 0, count(*) FROM entries GROUP BY namespace;

CREATE TABLE acls (prefix TEXT PRIMARY KEY, readers TEXT NOT NULL, writers TEXT NOT NULL, actor TEXT NOT NULL, at BIGINT NOT NULL);

-- Payloads whose bytes are gone by an event that says so.
CREATE TABLE erased (hash BYTEA PRIMARY KEY) {clustered};

CREATE INDEX ledger_of_state ON ledger (stream, idx) WHERE kind IN ('state.set', 'state.deleted', 'state.expired')
