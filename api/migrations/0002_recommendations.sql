-- Behaviour events as the product sent them. The recommender's history is rebuilt from these.
CREATE TABLE behaviour_events (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT    NOT NULL UNIQUE, -- the caller's: an event that comes twice counts once
    user_id   TEXT    NOT NULL,
    stream_id TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    at        INTEGER NOT NULL, -- when it happened, Unix milliseconds
    stored_at INTEGER NOT NULL  -- Unix milliseconds
) STRICT;
CREATE INDEX behaviour_events_age ON behaviour_events (stored_at);

-- Single values by name, such as the set of live streams.
CREATE TABLE service_state (
    name       TEXT    PRIMARY KEY,
    updated_at INTEGER NOT NULL, -- Unix milliseconds
    json       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
