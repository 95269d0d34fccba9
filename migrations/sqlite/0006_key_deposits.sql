-- Private keys of cautious users, wrapped under a passphrase that never comes here, and once more by us.
CREATE TABLE key_deposits (
    folded TEXT PRIMARY KEY,        -- of the account
    version INTEGER NOT NULL,       -- counted up with every change
    sealed BLOB NOT NULL,           -- under the master key
    stored_at INTEGER NOT NULL
) WITHOUT ROWID;
