-- Relay domains are kept in memory, too.
CREATE TRIGGER relay_domains_changed AFTER INSERT OR UPDATE OR DELETE ON relay_domains
    FOR EACH ROW EXECUTE FUNCTION count_change();
