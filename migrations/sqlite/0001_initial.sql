-- Times are milliseconds since the Unix epoch, UTC. "Sealed" columns are ChaCha20-Poly1305 ciphertexts
-- whose associated data names their place (src/store/sealed.rs); all else is in clear.

-- One row: known text under the master key, so that a wrong key is noticed before anything is touched.
CREATE TABLE master_key_check (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
);

CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    wrapped_key BLOB NOT NULL,      -- sealed under the master key
    envelope BLOB NOT NULL,         -- sealed under the message's key: reverse-path, source
    content INTEGER NOT NULL,       -- 1: RFC 5322; 2: D/MIME 1
    size_bytes INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL
);

-- Body pieces. They may be written before their message is (see incoming), so they do not refer to it.
CREATE TABLE pieces (
    message TEXT NOT NULL,
    number INTEGER NOT NULL,
    sealed BLOB NOT NULL,           -- under the message's key
    UNIQUE (message, number)
);

-- Bodies that have pieces but no message yet. What is found here at start was never acknowledged.
CREATE TABLE incoming (
    message TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE recipients (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    message TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    destination TEXT NOT NULL,
    forward_path BLOB NOT NULL,     -- sealed under the message's key
    -- waiting: to be tried; held: by an operator; quarantined: unreadable; the rest are final
    state TEXT NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'held', 'quarantined', 'delivered', 'relayed', 'expanded', 'failed')),
    fault TEXT,                     -- why it is quarantined
    attempts INTEGER NOT NULL DEFAULT 0,
    delay_reported INTEGER NOT NULL DEFAULT 0,
    -- When it may be claimed: next attempt, or end of the lease. NULL unless waiting.
    due_at INTEGER CHECK ((due_at IS NOT NULL) = (state = 'waiting')),
    lease TEXT,
    leased_until INTEGER
);
CREATE INDEX recipients_by_message ON recipients (message, destination);
CREATE INDEX recipients_due ON recipients (destination, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX recipients_leased ON recipients (lease) WHERE lease IS NOT NULL;
CREATE INDEX recipients_quarantined ON recipients (seq) WHERE state = 'quarantined';

-- One lane per destination that has waiting recipients. Claims take lanes by turn and a few groups from
-- each, which makes them fair and their cost independent of the length of the queue.
-- turn_at = max(served_at, earliest due_at of the destination); turn_no counts turns, and orders lanes within
-- one millisecond.
CREATE TABLE lanes (
    destination TEXT PRIMARY KEY,
    served_at INTEGER NOT NULL DEFAULT 0,
    turn_at INTEGER NOT NULL,
    turn_no INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX lanes_by_turn ON lanes (turn_at, turn_no);
CREATE INDEX lanes_by_number ON lanes (turn_no);

CREATE TABLE attempts (
    seq INTEGER PRIMARY KEY,
    recipient TEXT NOT NULL REFERENCES recipients (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    note BLOB NOT NULL              -- sealed under the message's key
);
CREATE INDEX attempts_by_recipient ON attempts (recipient, seq);

CREATE TABLE replay_tokens (
    token BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX replay_tokens_by_expiry ON replay_tokens (expires_at);

CREATE TABLE signets (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL,             -- folded
    crypto BLOB NOT NULL,
    complete BLOB NOT NULL,         -- full fingerprint
    identifiable BLOB NOT NULL,
    object BLOB NOT NULL,
    private_keys BLOB,              -- sealed under the master key
    published_at INTEGER NOT NULL,
    UNIQUE (name, complete)
);

-- Signets of others. Which people our users write to is nobody's business: names are keyed hashes.
CREATE TABLE remote_signets (
    name_tag BLOB NOT NULL,
    signet_tag BLOB NOT NULL,
    sealed BLOB NOT NULL,           -- under the master key: fingerprint and object
    fetched_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (name_tag, signet_tag)
);

CREATE TABLE accounts (
    folded TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    address TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    scram_verifier TEXT,
    trust_mode TEXT NOT NULL CHECK (trust_mode IN ('trustful', 'cautious', 'paranoid')),
    created_at INTEGER NOT NULL
);
CREATE INDEX accounts_by_domain ON accounts (domain, folded);

CREATE TABLE aliases (
    folded TEXT NOT NULL,
    target TEXT NOT NULL,
    PRIMARY KEY (folded, target)
) WITHOUT ROWID;

CREATE TABLE local_domains (
    name TEXT PRIMARY KEY,
    policy TEXT CHECK (policy IN ('experimental', 'mixed', 'strict')),
    subdomain_policy TEXT CHECK (subdomain_policy IN ('strict', 'relaxed', 'explicit')),
    delivery_hosts TEXT,            -- separated by one space
    created_at INTEGER NOT NULL,
    CHECK ((policy IS NULL) = (subdomain_policy IS NULL) AND (policy IS NULL) = (delivery_hosts IS NULL))
);

CREATE TABLE pins (
    domain TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    secure INTEGER NOT NULL,
    first_seen_at INTEGER NOT NULL,
    refresh_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
