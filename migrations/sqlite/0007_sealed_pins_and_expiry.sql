-- Pins carry a seal under the master key over all that they say, so that an old or foreign row is not believed. Pins made
-- without one are forgotten.
DROP TABLE pins;
CREATE TABLE pins (
    domain TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    secure INTEGER NOT NULL,
    first_seen_at INTEGER NOT NULL,
    refresh_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    seal BLOB NOT NULL
);

-- Days that others may rely on the management record of a domain of ours; NULL for as long as its TTL.
ALTER TABLE local_domains ADD COLUMN expiry_days INTEGER;
UPDATE local_domains SET expiry_days = 30 WHERE policy IS NOT NULL;
