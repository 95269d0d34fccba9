-- Signets taken out of service, and when the private keys of those that were replaced are erased.
ALTER TABLE signets ADD COLUMN revoked_at INTEGER;
ALTER TABLE signets ADD COLUMN erase_keys_at INTEGER;
CREATE INDEX signets_by_erasure ON signets (erase_keys_at);

-- Changes of keys under way, one for a domain or address. The new private keys wait here until they are in use.
CREATE TABLE rollovers (
    name TEXT PRIMARY KEY,          -- folded
    state TEXT NOT NULL CHECK (state IN ('generated', 'published', 'seen', 'active', 'retired')),
    replaces BLOB NOT NULL,         -- cryptographic fingerprint of the signet with the old keys
    sealed BLOB NOT NULL,           -- under the master key: the new private keys
    started_at INTEGER NOT NULL,
    since INTEGER NOT NULL,
    due_at INTEGER                  -- when the next step may be taken; NULL: waits for something else
);

-- Requests of users who keep their keys, until an administrator decides. Nothing in them is secret.
CREATE TABLE signing_requests (
    name TEXT PRIMARY KEY,          -- folded
    object BLOB NOT NULL,
    key_set BLOB,
    submitted_at INTEGER NOT NULL,
    rejected_at INTEGER,
    reason TEXT,
    CHECK ((rejected_at IS NULL) = (reason IS NULL))
);

-- Domains on their way out of DIME.
CREATE TABLE retirements (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('announced', 'expiring', 'withdrawn')),
    since INTEGER NOT NULL,
    due_at INTEGER
);

-- Which signing key others had. Names are keyed hashes, as in remote_signets.
CREATE TABLE custody_pins (
    name_tag BLOB PRIMARY KEY,
    sealed BLOB NOT NULL,           -- under the master key: signing key, cryptographic fingerprint
    expires_at INTEGER NOT NULL
);
CREATE INDEX custody_pins_by_expiry ON custody_pins (expires_at);
