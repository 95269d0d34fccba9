-- The master key takes the place of another in steps, and tags of names stay what they are.
-- No row: neither has ever happened.
CREATE TABLE master_key_ring (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    tags BYTEA NOT NULL,             -- what tags are derived from, sealed under the master key of master_key_check
    -- While a change is under way, either key opens everything:
    next_check BYTEA,                -- as master_key_check, of the next key
    next_tags BYTEA,                 -- as tags, under the next key
    next BYTEA,                      -- the next key, sealed under the one before it
    previous BYTEA,                  -- that one, sealed under the next key
    CHECK ((next_check IS NULL) = (next IS NULL) AND (next_tags IS NULL) = (next IS NULL)
        AND (previous IS NULL) = (next IS NULL))
);
