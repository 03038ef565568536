-- Verdicts, in the order in which they were committed. AUTOINCREMENT never gives a number twice, so
-- `seq` can serve as a cursor and as Last-Event-ID even after rows were pruned.
CREATE TABLE verdicts (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL,
    stream_id  TEXT,
    kind       TEXT    NOT NULL,
    action     INTEGER NOT NULL, -- 0 allow, 1 flag, 2 hold, 3 remove, 4 suspend
    review     INTEGER NOT NULL,
    latency_ms REAL,
    stored_at  INTEGER NOT NULL, -- Unix milliseconds
    json       TEXT    NOT NULL
) STRICT;
CREATE INDEX verdicts_stream ON verdicts (stream_id, seq);
CREATE INDEX verdicts_acted ON verdicts (stream_id, seq) WHERE action > 0;
CREATE INDEX verdicts_review ON verdicts (seq) WHERE review = 1;
CREATE INDEX verdicts_age ON verdicts (stored_at);

-- Live URLs. `json` is the whole record; the other columns are what queries need.
CREATE TABLE watches (
    id         TEXT    PRIMARY KEY,
    stream_id  TEXT    NOT NULL,
    active     INTEGER NOT NULL,
    created_at INTEGER NOT NULL, -- Unix milliseconds
    updated_at INTEGER NOT NULL, -- Unix milliseconds
    json       TEXT    NOT NULL
) STRICT;
CREATE INDEX watches_stream ON watches (stream_id, created_at);

-- A key that a caller sent with a segment, and the verdict it was answered with.
CREATE TABLE idempotency (
    key       TEXT    NOT NULL,
    stream_id TEXT    NOT NULL,
    sequence  TEXT    NOT NULL,
    seq       INTEGER NOT NULL,
    stored_at INTEGER NOT NULL, -- Unix milliseconds
    PRIMARY KEY (key, stream_id, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (stored_at);

-- What the smoothing of a stream remembers between two segments.
CREATE TABLE stream_history (
    stream_id  TEXT    PRIMARY KEY,
    updated_at INTEGER NOT NULL, -- Unix milliseconds
    json       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX stream_history_age ON stream_history (updated_at);
