-- Of which names signets have changed, so that whoever keeps some in memory drops those alone. Triggers write it, so that no
-- way of changing a row is forgotten. The newest 10,000 stay, so there is always one: who has missed more drops all.
CREATE TABLE signet_changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL
);
INSERT INTO signet_changes (name) VALUES ('');

CREATE TRIGGER signet_changes_added AFTER INSERT ON signet_changes BEGIN
    DELETE FROM signet_changes WHERE seq <= NEW.seq - 10000;
END;
CREATE TRIGGER signets_added AFTER INSERT ON signets BEGIN
    INSERT INTO signet_changes (name) VALUES (NEW.name);
END;
-- Private keys are not kept in memory.
CREATE TRIGGER signets_changed
AFTER UPDATE OF seq, name, crypto, complete, identifiable, object, published_at, revoked_at ON signets BEGIN
    INSERT INTO signet_changes (name) VALUES (OLD.name);
    INSERT INTO signet_changes (name) SELECT NEW.name WHERE NEW.name <> OLD.name;
END;
CREATE TRIGGER signets_dropped AFTER DELETE ON signets BEGIN
    INSERT INTO signet_changes (name) VALUES (OLD.name);
END;

-- Pins of others' management records are dropped some time after they have expired.
CREATE INDEX pins_by_expiry ON pins (expires_at);
