-- Mail that was held when it came, because a filter or a policy said so: when it is deleted if nobody has decided by then.
-- NULL for everything else, and for what an operator has held: that stays.
ALTER TABLE recipients ADD COLUMN held_until INTEGER;
CREATE INDEX recipients_held_until ON recipients (held_until) WHERE held_until IS NOT NULL;
