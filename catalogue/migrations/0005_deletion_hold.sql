-- While a backup is made, no file is deleted that the backed-up database may still need: at most one hold, which ends by itself.
CREATE TABLE deletion_hold (
    single      boolean PRIMARY KEY DEFAULT true CHECK (single),
    held_until  timestamptz NOT NULL
);
