-- Who is refused on DMTP. Keys are in base64 without padding.
CREATE TABLE blocks (
    kind TEXT NOT NULL CHECK (kind IN ('domain', 'pok', 'author-key')),
    value TEXT NOT NULL,
    doer TEXT NOT NULL CHECK (doer IN ('operator', 'trap')),
    reason TEXT NOT NULL,
    origin TEXT,                    -- of an author key that wrote to a trap
    since INTEGER NOT NULL,
    until INTEGER,                  -- NULL: without end
    PRIMARY KEY (kind, value)
) WITHOUT ROWID;
CREATE INDEX blocks_by_end ON blocks (until) WHERE until IS NOT NULL;
CREATE INDEX blocks_by_origin ON blocks (origin, since) WHERE origin IS NOT NULL;
CREATE INDEX blocks_by_trap ON blocks (until) WHERE doer = 'trap';

-- What happened to the list and because of it. The newest of each doer are kept.
CREATE TABLE block_log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    doer TEXT NOT NULL CHECK (doer IN ('operator', 'trap', 'expiry', 'arrival')),
    deed TEXT NOT NULL CHECK (deed IN ('added', 'prolonged', 'removed', 'expired', 'refused')),
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL DEFAULT 1 -- messages refused within the hour that begins at `at`
);
CREATE INDEX block_log_by_doer ON block_log (doer, seq);
CREATE INDEX block_log_by_entry ON block_log (kind, value, doer, seq);

-- Accounts that nobody writes to but spammers.
ALTER TABLE accounts ADD COLUMN trap_since INTEGER;
CREATE INDEX accounts_that_are_traps ON accounts (folded) WHERE trap_since IS NOT NULL;
-- The account in charge of a domain is found without reading the others.
CREATE INDEX accounts_by_age ON accounts (domain, created_at, folded) WHERE trap_since IS NULL;
