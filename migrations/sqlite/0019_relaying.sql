-- Domains whose mail we take for other hosts.
CREATE TABLE relay_domains (
    name TEXT PRIMARY KEY,
    -- How it is found out who has an address there: by relay_recipients, by asking the next host, or not at all.
    verification TEXT NOT NULL CHECK (verification IN ('list', 'callout', 'none')),
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Who has an address in a relay domain.
CREATE TABLE relay_recipients (
    domain TEXT NOT NULL REFERENCES relay_domains (name) ON DELETE CASCADE,
    folded TEXT NOT NULL,           -- the whole address
    PRIMARY KEY (domain, folded)
) WITHOUT ROWID;

-- Recipients whom the next host has said that it knows, by tags that say nothing without the master key.
CREATE TABLE callouts (
    tag BLOB PRIMARY KEY,
    asked_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX callouts_by_age ON callouts (asked_at);

-- Reverse-paths that would be too long once they are rewritten (SRS), so that their id is in the new ones.
CREATE TABLE srs_paths (
    id TEXT PRIMARY KEY,
    sealed BLOB NOT NULL,           -- the mailbox, under a key derived for the id
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX srs_paths_by_end ON srs_paths (expires_at);
