-- Pictures and sound behind verdicts. The bytes lie in a folder or a bucket; a row is committed before its
-- bytes are stored and goes after they are deleted, so that no bytes are forgotten.
CREATE TABLE evidence_clips (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT, -- the oldest have the smallest
    id        TEXT    NOT NULL UNIQUE,
    stream_id TEXT    NOT NULL,
    sound     INTEGER NOT NULL, -- 1: the original is sound, 0: a picture
    bytes     INTEGER NOT NULL, -- original and preview
    stored_at INTEGER NOT NULL  -- Unix milliseconds; also decides where the bytes lie
) STRICT;

-- The sum of `bytes`, so that nobody has to add up all rows to know it.
CREATE TABLE evidence_held (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO evidence_held (one, bytes) VALUES (1, 0);
CREATE TRIGGER evidence_clips_come AFTER INSERT ON evidence_clips BEGIN
    UPDATE evidence_held SET bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER evidence_clips_change AFTER UPDATE OF bytes ON evidence_clips BEGIN
    UPDATE evidence_held SET bytes = bytes + NEW.bytes - OLD.bytes;
END;
CREATE TRIGGER evidence_clips_go AFTER DELETE ON evidence_clips BEGIN
    UPDATE evidence_held SET bytes = bytes - OLD.bytes;
END;
