-- Beside the tables that `batch-cancel schema --reference` prints: what this dialer adds to them.
ALTER TABLE batch_contacts
    ADD COLUMN IF NOT EXISTS phone text NOT NULL,
    ADD COLUMN IF NOT EXISTS attempts integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS dialing_since timestamptz;

-- The calls that the pretended telephone has made.
CREATE TABLE IF NOT EXISTS calls (
    phone text NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
