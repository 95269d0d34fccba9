-- What nodes say of themselves, by host name.
CREATE TABLE node_reports (
    name TEXT PRIMARY KEY,
    seen_at INTEGER NOT NULL,       -- when it last said something
    stopped_at INTEGER,             -- when it was stopped; NULL while it runs
    drained_since INTEGER           -- of the newest of its drains that it heeds; NULL if it takes mail
) WITHOUT ROWID;
