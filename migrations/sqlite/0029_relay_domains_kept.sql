-- Relay domains are kept in memory, too.
CREATE TRIGGER relay_domains_added AFTER INSERT ON relay_domains BEGIN UPDATE changes SET count = count + 1; END;
CREATE TRIGGER relay_domains_changed AFTER UPDATE ON relay_domains BEGIN UPDATE changes SET count = count + 1; END;
CREATE TRIGGER relay_domains_dropped AFTER DELETE ON relay_domains BEGIN UPDATE changes SET count = count + 1; END;
