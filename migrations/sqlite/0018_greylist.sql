-- Hosts that were asked to come again, and those that did. Tags are hashes under the master key of a network, and of a network
-- with reverse-path and recipient.
CREATE TABLE greylist (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tag BLOB NOT NULL UNIQUE,
    network BLOB NOT NULL,
    since INTEGER NOT NULL,         -- of the first try
    proven INTEGER NOT NULL CHECK (proven IN (0, 1)),
    until INTEGER NOT NULL          -- from then on it is forgotten
);
CREATE INDEX greylist_by_end ON greylist (proven, until);
CREATE INDEX greylist_waiting ON greylist (network, seq) WHERE proven = 0;

CREATE TABLE greylist_networks (
    network BLOB PRIMARY KEY,
    good INTEGER NOT NULL,          -- tries that were made again
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX greylist_networks_by_end ON greylist_networks (until);
