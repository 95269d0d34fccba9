-- Keys that sign mail of our domains (RFC 6376). The private half is overwritten with zeros once another key signs.
CREATE TABLE dkim_keys (
    domain TEXT NOT NULL,
    selector TEXT NOT NULL,
    algorithm TEXT NOT NULL,        -- as in the tag `a`
    record TEXT NOT NULL,           -- what is published
    sealed BLOB NOT NULL,           -- under the master key
    state TEXT NOT NULL,            -- generated, active, replaced
    created_at INTEGER NOT NULL,
    since INTEGER NOT NULL,         -- in that state
    PRIMARY KEY (domain, selector)
);
