-- When an operator released mail that was held: how long it is tried counts from then on. NULL for all other mail.
ALTER TABLE messages ADD COLUMN released_at BIGINT;
