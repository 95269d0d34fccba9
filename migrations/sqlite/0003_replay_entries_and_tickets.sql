-- What was taken before: a key that names role, domain and object, and 16 octets that tell one object from another
-- of the same id. Entries of D/MIME 1, whose key is the object's own hash, have an empty digest.
ALTER TABLE replay_tokens RENAME TO replay_entries;
ALTER TABLE replay_entries RENAME COLUMN token TO entry;
ALTER TABLE replay_entries ADD COLUMN digest BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';

-- What a returned message would be made of, for mail that came sealed as D/MIME 2 and waits in another form.
CREATE TABLE tickets (
    message TEXT PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    sealed BLOB NOT NULL            -- under the message's key
) WITHOUT ROWID;
