-- Processes that claim from this database; the leases of each begin with its id. Each counts its beats, and says after how many
-- milliseconds without one it may be taken for dead: then another one deletes its row, and ends its leases, in one transaction.
-- Programs with an older schema have no rows, and their leases run out by themselves.
CREATE TABLE nodes (
    id TEXT COLLATE "C" PRIMARY KEY,
    host TEXT COLLATE "C" NOT NULL,
    beats BIGINT NOT NULL,
    silence_ms BIGINT NOT NULL
);
