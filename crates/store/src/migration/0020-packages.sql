-- Packages as lists show them, and whose are taken.
CREATE TABLE packages (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    digest BYTEA NOT NULL,
    publisher BYTEA NOT NULL,
    signed_by TEXT NOT NULL,
    archive BYTEA NOT NULL,
    files BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    older_than TEXT,
    actor TEXT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX packages_name ON packages (name, version);
CREATE TABLE publishers (key TEXT PRIMARY KEY, name TEXT NOT NULL, at BIGINT NOT NULL)
