-- Accounts, what they may send as, and what their passwords are checked against.

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,      -- never used twice: sealed verifiers and remembered logins name it
    login TEXT NOT NULL UNIQUE,                -- canonical: Mailbox.key
    local_part TEXT NOT NULL,                  -- of login
    domain TEXT NOT NULL,                      -- of login
    suspended INTEGER NOT NULL DEFAULT 0,
    suspension TEXT NOT NULL DEFAULT '',       -- the operator's reason
    smarthost INTEGER NOT NULL DEFAULT 0,
    messages_per_hour INTEGER,                 -- NULL: the policy's
    recipients_per_hour INTEGER,
    language TEXT,
    scram_only INTEGER NOT NULL DEFAULT 0,     -- has SCRAM keys and no argon2id verifier: taken over from elsewhere
    created REAL NOT NULL,                     -- UTC epoch, seconds
    changed REAL NOT NULL
) STRICT;
CREATE INDEX accounts_by_local_part ON accounts (local_part);
CREATE INDEX accounts_by_domain ON accounts (domain);
CREATE INDEX accounts_with_scram_only ON accounts (id) WHERE scram_only = 1;

CREATE TABLE identities (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    identity TEXT NOT NULL,                    -- Mailbox.key, or "@domain"
    local_part TEXT NOT NULL,                  -- "" for "@domain"
    PRIMARY KEY (account, identity)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_by_identity ON identities (identity);
CREATE INDEX identities_by_local_part ON identities (local_part);

CREATE TABLE verifiers (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    mechanism TEXT NOT NULL,                   -- argon2id, SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5
    verifier TEXT NOT NULL,                    -- PHC string; ITERATIONS:SALT$STOREDKEY:SERVERKEY; sealed secret
    PRIMARY KEY (account, mechanism)
) STRICT, WITHOUT ROWID;

-- Apart from accounts, so that noting a login neither moves the generation nor empties any process's cache.
CREATE TABLE activity (
    account INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    last_login REAL NOT NULL                   -- UTC epoch, seconds; up to ten minutes late
) STRICT;

CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO secrets VALUES ('decoys', randomblob(32));

-- Moves with every change that a cached account could miss.
CREATE TABLE generation (number INTEGER NOT NULL) STRICT;
INSERT INTO generation VALUES (1);
CREATE TRIGGER account_added AFTER INSERT ON accounts BEGIN UPDATE generation SET number = number + 1; END;
CREATE TRIGGER account_changed AFTER UPDATE ON accounts BEGIN UPDATE generation SET number = number + 1; END;
CREATE TRIGGER account_deleted AFTER DELETE ON accounts BEGIN UPDATE generation SET number = number + 1; END;
CREATE TRIGGER identity_added AFTER INSERT ON identities BEGIN UPDATE generation SET number = number + 1; END;
CREATE TRIGGER identity_deleted AFTER DELETE ON identities BEGIN UPDATE generation SET number = number + 1; END;
CREATE TRIGGER verifier_added AFTER INSERT ON verifiers BEGIN UPDATE generation SET number = number + 1; END;
CREATE TRIGGER verifier_changed AFTER UPDATE ON verifiers BEGIN UPDATE generation SET number = number + 1; END;
CREATE TRIGGER verifier_deleted AFTER DELETE ON verifiers BEGIN UPDATE generation SET number = number + 1; END;

CREATE TRIGGER scram_only_by_insert AFTER INSERT ON verifiers BEGIN
    UPDATE accounts SET scram_only =
        EXISTS (SELECT 1 FROM verifiers WHERE account = NEW.account AND mechanism LIKE 'SCRAM-%')
        AND NOT EXISTS (SELECT 1 FROM verifiers WHERE account = NEW.account AND mechanism = 'argon2id')
    WHERE id = NEW.account;
END;
CREATE TRIGGER scram_only_by_delete AFTER DELETE ON verifiers BEGIN
    UPDATE accounts SET scram_only =
        EXISTS (SELECT 1 FROM verifiers WHERE account = OLD.account AND mechanism LIKE 'SCRAM-%')
        AND NOT EXISTS (SELECT 1 FROM verifiers WHERE account = OLD.account AND mechanism = 'argon2id')
    WHERE id = OLD.account;
END;
