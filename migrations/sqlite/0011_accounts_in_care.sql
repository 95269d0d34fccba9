-- An account may be kept from logging in, have a quota of its own, and write under addresses that do not lead to it.
ALTER TABLE accounts ADD COLUMN disabled_at INTEGER;
ALTER TABLE accounts ADD COLUMN quota_bytes INTEGER; -- NULL: that of the configuration; 0: none
CREATE TABLE senders (
    folded TEXT NOT NULL,           -- of the account
    sender TEXT NOT NULL,           -- folded; *@domain for every address of a domain
    PRIMARY KEY (folded, sender)
) WITHOUT ROWID;
