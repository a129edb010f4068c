-- Which rules judged calls, and since when. Which of them holds is the project's own to say.
CREATE TABLE policies (
    number BIGINT PRIMARY KEY,
    digest BYTEA NOT NULL,
    bundle BYTEA NOT NULL,
    author TEXT NOT NULL,
    note TEXT,
    repeats BIGINT,
    at BIGINT NOT NULL
)
