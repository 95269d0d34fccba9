-- What the daemon last knew of the time, so that a clock that jumped between two runs is noticed.
CREATE TABLE clock_record (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    trusted_at INTEGER NOT NULL,        -- the last time that was trusted
    is_doubted INTEGER NOT NULL,        -- whether the clock is in doubt
    confirmations INTEGER NOT NULL      -- how often an operator has confirmed the time
);
