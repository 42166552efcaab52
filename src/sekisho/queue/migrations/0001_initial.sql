-- One row per accepted message; kept after the last recipient is done, for tracing.
CREATE TABLE message (
    number       INTEGER PRIMARY KEY,   -- see queue/ids.py; grows with time
    arrived      REAL    NOT NULL,      -- UTC epoch seconds, as all times here
    expires      REAL    NOT NULL,
    recipients   INTEGER NOT NULL,
    open         INTEGER NOT NULL,      -- recipients that are not final; 0: the content is gone
    sender_local TEXT,                  -- NULL: the null reverse-path
    sender_domain TEXT,
    body         TEXT    NOT NULL,
    smtputf8     INTEGER NOT NULL,
    ret          TEXT,
    envid        TEXT,
    account      TEXT,
    session      TEXT    NOT NULL,
    client       TEXT    NOT NULL,
    listener     TEXT    NOT NULL,
    size         INTEGER NOT NULL
);

CREATE INDEX open_message ON message (number) WHERE open > 0;

-- Content of messages with open recipients. In the row, or in content/<number> (octets NULL):
-- the file's content begins at *start*; its first *head_size* octets have *checksum*, the rest *tail_checksum* (CRC-32).
CREATE TABLE content (
    number        INTEGER PRIMARY KEY,
    checksum      INTEGER NOT NULL,
    start         INTEGER,
    head_size     INTEGER,
    tail_checksum INTEGER,
    octets        BLOB
);

-- id = message number << 20 | recipient number. States: 0 queued, 1 deferred, 2 held; final: 3 delivered, 4 failed,
-- 5 expired, 6 deleted. The row holds the latest outcome; earlier ones move to history.
CREATE TABLE recipient (
    id           INTEGER PRIMARY KEY,
    state        INTEGER NOT NULL,
    next_attempt REAL,                  -- NULL when held or final
    attempts     INTEGER NOT NULL DEFAULT 0,
    local_part   TEXT    NOT NULL,
    domain       TEXT    NOT NULL,
    notify       TEXT,
    orcpt        TEXT,
    changed      REAL,                  -- NULL until the first outcome
    next_hop     TEXT,
    reply        TEXT
);

CREATE INDEX due ON recipient (next_attempt) WHERE state < 3;

CREATE TABLE history (
    recipient INTEGER NOT NULL,
    at        REAL    NOT NULL,
    state     INTEGER NOT NULL,
    next_hop  TEXT    NOT NULL,
    reply     TEXT    NOT NULL,
    PRIMARY KEY (recipient, at, state)
) WITHOUT ROWID;
