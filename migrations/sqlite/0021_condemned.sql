-- Mail that an operator has deleted with a word to its author: the next attempt fails it in the place of trying it.
ALTER TABLE recipients ADD COLUMN condemned INTEGER NOT NULL DEFAULT 0;
