-- Where the output of an attempt's steps is kept; empty: nowhere.
ALTER TABLE job ADD COLUMN log text NOT NULL DEFAULT '';
