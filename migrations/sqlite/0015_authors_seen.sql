-- Whether somebody here has written to whose keys these are. Of others, who are known as authors alone, only so many are
-- kept: strangers decide how many there are. Those kept until now may have been written to.
ALTER TABLE custody_pins ADD COLUMN written_to INTEGER NOT NULL DEFAULT 1;
CREATE INDEX custody_pins_of_authors ON custody_pins (expires_at) WHERE written_to = 0;
