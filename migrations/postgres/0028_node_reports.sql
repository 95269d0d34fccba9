-- What nodes say of themselves, by host name.
CREATE TABLE node_reports (
    name TEXT COLLATE "C" PRIMARY KEY,
    seen_at BIGINT NOT NULL,        -- when it last said something
    stopped_at BIGINT,              -- when it was stopped; NULL while it runs
    drained_since BIGINT            -- of the newest of its drains that it heeds; NULL if it takes mail
);
