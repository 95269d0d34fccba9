-- Expired copies of others' signets are dropped as new ones come.
CREATE INDEX remote_signets_by_expiry ON remote_signets (expires_at);
