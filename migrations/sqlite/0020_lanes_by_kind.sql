-- Lanes of our own domains and those of others are taken by turn apart from each other, so that neither holds up the other.
ALTER TABLE lanes ADD COLUMN ours INTEGER NOT NULL DEFAULT 0;
UPDATE lanes SET ours = 1 WHERE destination IN (SELECT name FROM local_domains);

DROP INDEX lanes_by_turn;
CREATE INDEX lanes_by_turn ON lanes (ours, turn_at, turn_no);

CREATE TRIGGER lanes_added AFTER INSERT ON lanes
    WHEN EXISTS (SELECT 1 FROM local_domains WHERE name = NEW.destination) BEGIN
    UPDATE lanes SET ours = 1 WHERE destination = NEW.destination;
END;
-- No domain ceases to be ours while mail waits for it, and so it has no lane then.
CREATE TRIGGER local_domains_take_lanes AFTER INSERT ON local_domains BEGIN
    UPDATE lanes SET ours = 1 WHERE destination = NEW.name;
END;
