-- Nodes that are to take nothing new, by host name; an empty one stands for every node.
CREATE TABLE drains (
    node TEXT PRIMARY KEY,
    since INTEGER NOT NULL
) WITHOUT ROWID;
