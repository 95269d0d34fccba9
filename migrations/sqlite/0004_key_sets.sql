-- Private KEM keys of ours, by the signet whose key set has the public halves. They are destroyed in time: that is all
-- the forward secrecy there is (dmime2.md §3.2).
CREATE TABLE kem_keys (
    name TEXT NOT NULL,             -- folded
    complete BLOB NOT NULL,         -- full fingerprint of the signet
    sealed BLOB NOT NULL,           -- under the master key
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    destroy_at INTEGER NOT NULL,
    PRIMARY KEY (name, complete)
);
CREATE INDEX kem_keys_by_end ON kem_keys (destroy_at);

-- Key sets that users whose keys are at home have signed for later. Nothing in them is secret.
CREATE TABLE key_sets_ahead (
    name TEXT NOT NULL,             -- folded
    publish_at INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (name, publish_at)
);

-- What was seen of others' key sets. Names are keyed hashes, as in remote_signets.
CREATE TABLE key_set_pins (
    name_tag BLOB PRIMARY KEY,
    sealed BLOB NOT NULL,           -- under the master key: signing key, time, whether keys were ever seen
    expires_at INTEGER NOT NULL
);
CREATE INDEX key_set_pins_by_expiry ON key_set_pins (expires_at);

-- Signets with the same keys and another key set are different signets, each found by its own full fingerprint; and one
-- that was fetched by its fingerprint is never taken for the current one. The copies made before are fetched again.
DROP TABLE remote_signets;
CREATE TABLE remote_signets (
    name_tag BLOB NOT NULL,
    signet_tag BLOB NOT NULL,       -- of its full fingerprint, or else of its cryptographic one
    crypto_tag BLOB NOT NULL,
    sealed BLOB NOT NULL,           -- under the master key: fingerprint and object
    fetched_at INTEGER NOT NULL,
    current_until INTEGER,          -- NULL: never said to be the current one
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (name_tag, signet_tag)
);
CREATE INDEX remote_signets_by_expiry ON remote_signets (expires_at);
