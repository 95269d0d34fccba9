-- How often tables have changed of which rows are kept in memory. Whoever keeps some looks here whether they may still be
-- used; triggers count, so that no way of changing a row is forgotten.
CREATE TABLE changes (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    count INTEGER NOT NULL
);
INSERT INTO changes (id, count) VALUES (1, 0);

CREATE TRIGGER pins_added AFTER INSERT ON pins BEGIN UPDATE changes SET count = count + 1; END;
CREATE TRIGGER pins_changed AFTER UPDATE ON pins BEGIN UPDATE changes SET count = count + 1; END;
CREATE TRIGGER pins_dropped AFTER DELETE ON pins BEGIN UPDATE changes SET count = count + 1; END;
CREATE TRIGGER local_domains_added AFTER INSERT ON local_domains BEGIN UPDATE changes SET count = count + 1; END;
CREATE TRIGGER local_domains_changed AFTER UPDATE ON local_domains BEGIN UPDATE changes SET count = count + 1; END;
CREATE TRIGGER local_domains_dropped AFTER DELETE ON local_domains BEGIN UPDATE changes SET count = count + 1; END;
