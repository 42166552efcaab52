-- What stands beside the password: app passwords, the second factor, one-time tokens, logins of browsers.

ALTER TABLE accounts ADD COLUMN operator INTEGER NOT NULL DEFAULT 0;  -- may open the operator's pages
ALTER TABLE accounts ADD COLUMN renewal INTEGER NOT NULL DEFAULT 0;   -- an operator asks for a new password

CREATE TABLE app_passwords (
    id INTEGER PRIMARY KEY AUTOINCREMENT,      -- never used twice: open sessions name it
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    label TEXT NOT NULL,                       -- the person's own name for the device
    digest BLOB NOT NULL,                      -- see digests.py
    created REAL NOT NULL                      -- UTC epoch, seconds
) STRICT;
CREATE INDEX app_passwords_by_account ON app_passwords (account);

-- Apart, as activity is: noting a use empties no cache.
CREATE TABLE app_password_uses (
    app_password INTEGER PRIMARY KEY REFERENCES app_passwords (id) ON DELETE CASCADE,
    last_used REAL NOT NULL                    -- UTC epoch, seconds; up to ten minutes late
) STRICT;

CREATE TABLE second_factors (
    account INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    secret TEXT NOT NULL,                      -- sealed
    confirmed REAL,                            -- UTC epoch, seconds; NULL: begun, and not on
    last_step INTEGER NOT NULL DEFAULT 0       -- of the last code that was taken: neither it nor an earlier one again
) STRICT;

CREATE TABLE recovery_codes (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    digest BLOB NOT NULL,
    PRIMARY KEY (account, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE one_time_tokens (
    account INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    digest BLOB NOT NULL UNIQUE,
    expires REAL NOT NULL                      -- UTC epoch, seconds
) STRICT;

CREATE TABLE web_sessions (
    digest BLOB PRIMARY KEY,                   -- SHA-256 of the token
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    client TEXT NOT NULL,                      -- address that opened it
    second_factor INTEGER NOT NULL,
    opened REAL NOT NULL,                      -- UTC epoch, seconds
    last_seen REAL NOT NULL                    -- the same; up to a minute late
) STRICT, WITHOUT ROWID;
CREATE INDEX web_sessions_by_account ON web_sessions (account, last_seen);
CREATE INDEX web_sessions_by_last_seen ON web_sessions (last_seen);

INSERT INTO secrets VALUES ('digests', randomblob(32));

CREATE TRIGGER app_password_added AFTER INSERT ON app_passwords BEGIN
    UPDATE generation SET number = number + 1;
END;
CREATE TRIGGER app_password_deleted AFTER DELETE ON app_passwords BEGIN
    UPDATE generation SET number = number + 1;
END;
CREATE TRIGGER second_factor_confirmed AFTER UPDATE OF confirmed ON second_factors BEGIN
    UPDATE generation SET number = number + 1;
END;
CREATE TRIGGER second_factor_deleted AFTER DELETE ON second_factors BEGIN
    UPDATE generation SET number = number + 1;
END;

CREATE TRIGGER suspension_ends_web_sessions AFTER UPDATE OF suspended ON accounts WHEN NEW.suspended = 1 BEGIN
    DELETE FROM web_sessions WHERE account = NEW.id;
END;
