-- Primary keys of ours whose change was called off before they were used. The private halves are erased; DNS may still have
-- the public ones.
CREATE TABLE withdrawn_keys (
    name TEXT NOT NULL,             -- the domain
    key BLOB NOT NULL,
    PRIMARY KEY (name, key)
);
