-- MTA-STS policies of other domains, believed until they expire (RFC 8461). Nothing in them is secret; the seal under the
-- master key shows that a row is as it was written.
CREATE TABLE sts_policies (
    domain TEXT PRIMARY KEY,
    id TEXT NOT NULL,               -- of the TXT record when it was fetched
    policy TEXT NOT NULL,           -- as it was fetched
    fetched_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX sts_policies_by_expiry ON sts_policies (expires_at);
