BEGIN TRANSACTION;
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
INSERT INTO "accounts" VALUES(1,'rin@example.jp','rin','example.jp',0,'',0,50,NULL,'en',0,1790000000.0,1790000000.0);
INSERT INTO "accounts" VALUES(2,'aoi@example.jp','aoi','example.jp',0,'',1,NULL,NULL,NULL,0,1790000000.0,1790000000.0);
INSERT INTO "accounts" VALUES(3,'kei@example.jp','kei','example.jp',0,'',0,NULL,NULL,NULL,1,1790000000.0,1790000000.0);
INSERT INTO "accounts" VALUES(4,'sora@example.jp','sora','example.jp',0,'',0,NULL,NULL,NULL,0,1790000000.0,1790000000.0);
INSERT INTO "accounts" VALUES(5,'nami@example.jp','nami','example.jp',0,'',0,NULL,NULL,NULL,0,1790000000.0,1790000000.0);
INSERT INTO "accounts" VALUES(6,'umi@example.jp','umi','example.jp',1,'sends worms',0,NULL,NULL,NULL,0,1790000000.0,1790000000.0);
CREATE TABLE activity (
    account INTEGER PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    last_login REAL NOT NULL                   -- UTC epoch, seconds; up to ten minutes late
) STRICT;
INSERT INTO "activity" VALUES(1,1790000000.0);
CREATE TABLE generation (number INTEGER NOT NULL) STRICT;
INSERT INTO "generation" VALUES(35);
CREATE TABLE identities (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    identity TEXT NOT NULL,                    -- Mailbox.key, or "@domain"
    local_part TEXT NOT NULL,                  -- "" for "@domain"
    PRIMARY KEY (account, identity)
) STRICT, WITHOUT ROWID;
INSERT INTO "identities" VALUES(1,'@rin.example','');
INSERT INTO "identities" VALUES(1,'info@example.jp','info');
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "secrets" VALUES('decoys',X'F57CD7FA72DB8423142D59537C715A5127203BB077DEEB724CF3C287C4EFF2C9');
CREATE TABLE verifiers (
    account INTEGER NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    mechanism TEXT NOT NULL,                   -- argon2id, SCRAM-SHA-256, SCRAM-SHA-1, CRAM-MD5
    verifier TEXT NOT NULL,                    -- PHC string; ITERATIONS:SALT$STOREDKEY:SERVERKEY; sealed secret
    PRIMARY KEY (account, mechanism)
) STRICT, WITHOUT ROWID;
INSERT INTO "verifiers" VALUES(1,'SCRAM-SHA-1','4096:XRLVeqXecT/7ZbSWNVhQRw==$fn7iwwS8MiQnHZXAX951n3PDsGo=:r8trLwos8tXMcinjDfXvtH6FyB8=');
INSERT INTO "verifiers" VALUES(1,'SCRAM-SHA-256','4096:s8VwvSXW78Vrc3b7geKSqQ==$z/Vkif2S06BJjoJzKOTLN5PtQTKj10AkDpwTEVEwbz4=:euX+luaKaZnwK+l+1a3/PmWrRWqyRRcjTfZlwruFVUY=');
INSERT INTO "verifiers" VALUES(1,'argon2id','$argon2id$v=19$m=64,t=1,p=1$aDetm8A8Hq6cWgto8KmQxg$5ZPCflHJ3anQlczZkHfL9wDPjSb+vZH/0Ac7gi/BNTo');
INSERT INTO "verifiers" VALUES(2,'CRAM-MD5','aes-256-gcm$QwRq2oE141p+NkB/9h0I05PwjgFWGnTIQfPySMjvF5zpgwf+GVgH');
INSERT INTO "verifiers" VALUES(2,'SCRAM-SHA-1','4096:iPqGNFNZ1E37Km8dwensYA==$7D3oESvLNZ2tbKcBRHT9xE4NEJ8=:IlOzaDmIn10t94nIbneYsUuK+zo=');
INSERT INTO "verifiers" VALUES(2,'SCRAM-SHA-256','4096:FouZZflcFbIOBVz5u8u8WA==$ev3+/wTL8uO0P6/8+VASquuxR4wW6UgX63OTszeWJtQ=:vhmB9sF/d7imQ+d0YHJg6ZOkznhPgxMkgE/LARWF8ro=');
INSERT INTO "verifiers" VALUES(2,'argon2id','$argon2id$v=19$m=64,t=1,p=1$nl9MKE1SAib0jsfJD5y5Rg$mYJyJjNn2NsSZcMJsXOWl+Zm8Q88XJ1wIgQDgJRYOGo');
INSERT INTO "verifiers" VALUES(3,'SCRAM-SHA-256','4096:c3Nzc3Nzc3Nzc3Nzc3Nzcw==$fI2KuRWQ//RVP95hO5LGqPP4XTVsQ0OQsbRtd9Ql0Jg=:yQuUhzmJxwdeSGM9lQOHWUotzLWPPogmL1To/u0c4bw=');
INSERT INTO "verifiers" VALUES(4,'argon2id','$argon2id$v=19$m=64,t=1,p=1$Fl2GZiaVTsp6RC4W34OdtQ$DPBPF2iDqKsu5lDUNVmtVQMxMH1TulhsK1B7GDZJRPg');
INSERT INTO "verifiers" VALUES(6,'SCRAM-SHA-1','4096:+oTg3sfX6UzSMLj2dJraeQ==$yopvPUQGsWhitDCY1oQklHw1gxI=:ZY7jCBa5whAKX3hz8BrhBIfK0zE=');
INSERT INTO "verifiers" VALUES(6,'SCRAM-SHA-256','4096:X7LiAb+vfRLUl0/HPLFjgw==$Qvibk2Y9i6RSC8n8f/B57gRZs+clutA1jdEtNJRvTKA=:ouOVo75Y6Oy6tEvYXkLmZ75Q1LOSt8GL63ipA+DWjhE=');
INSERT INTO "verifiers" VALUES(6,'argon2id','$argon2id$v=19$m=64,t=1,p=1$CFISVFjiQ0hhnpCwU5NHLg$XRZz+q1hilOvoYeq8fR6PSe/wKEYDIG3ZDW6O1hLLCY');
CREATE INDEX accounts_by_local_part ON accounts (local_part);
CREATE INDEX accounts_by_domain ON accounts (domain);
CREATE INDEX accounts_with_scram_only ON accounts (id) WHERE scram_only = 1;
CREATE INDEX identities_by_identity ON identities (identity);
CREATE INDEX identities_by_local_part ON identities (local_part);
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
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('accounts',6);
COMMIT;
PRAGMA user_version = 1;
