-- The on-demand service: orders, their items, what is told of their end. Scenes, tiles and jobs of an item are those of its AOI.

-- A text, so that conditions of clients compare it as it is.
CREATE DOMAIN order_status AS text CHECK (value IN ('queued', 'in_progress', 'completed', 'failed', 'cancelled'));
-- What has to be done next for an item; see catalogue/hook/orders.py.
CREATE TYPE item_phase AS ENUM ('resolve', 'work', 'deliver', 'ended');

-- Orders and items are numbered together: of an order with one item both have the same number, as clients expect.
CREATE SEQUENCE hook_number AS bigint;

CREATE TABLE hook_order (
    id          bigint PRIMARY KEY DEFAULT nextval('hook_number'),
    uuid        uuid NOT NULL DEFAULT gen_random_uuid(),
    owner       text NOT NULL,
    name        text NOT NULL,
    workflow    text NOT NULL,
    version     text NOT NULL,
    priority    integer NOT NULL,
    -- Without the secret ones.
    options     jsonb NOT NULL,
    -- As they were written, for replies: [[name, value], ...]; a secret one without its value.
    given       jsonb NOT NULL,
    -- Secret options; gone when the order has ended.
    sealed      bytea,
    batch_size  integer,
    status      order_status NOT NULL DEFAULT 'queued',
    submitted_at timestamptz NOT NULL DEFAULT now(),
    estimated_at timestamptz,
    completed_at timestamptz,
    idempotency_key text,
    request_digest bytea,
    notification_endpoint text NOT NULL DEFAULT '',
    notification_username text NOT NULL DEFAULT '',
    notification_status text NOT NULL DEFAULT '',
    -- The password there; gone when the end of the order has been told.
    notification_sealed bytea,
    notification_attempts integer NOT NULL DEFAULT 0,
    -- When the end of the order is to be told next; null: nothing to tell (yet).
    notify_at   timestamptz,
    UNIQUE (owner, idempotency_key)
);
CREATE INDEX hook_order_owner ON hook_order (owner, id);
CREATE INDEX hook_order_notify ON hook_order (notify_at) WHERE notify_at IS NOT NULL;

CREATE TABLE hook_item (
    id          bigint PRIMARY KEY DEFAULT nextval('hook_number'),
    order_id    bigint NOT NULL REFERENCES hook_order ON DELETE CASCADE,
    -- Of the order, so that lists of items need no join; they never change.
    owner       text NOT NULL,
    name        text NOT NULL,
    workflow    text NOT NULL,
    priority    integer NOT NULL,
    submitted_at timestamptz NOT NULL DEFAULT now(),
    identifier  text NOT NULL,
    -- Of a production order: {Start, End} as given.
    content_date jsonb,
    aoi_id      bigint REFERENCES aoi ON DELETE SET NULL,
    status      order_status NOT NULL DEFAULT 'queued',
    phase       item_phase NOT NULL DEFAULT 'resolve',
    attempts    integer NOT NULL DEFAULT 0,
    -- Claimed by a replica until then, or to be tried again then.
    due_at      timestamptz NOT NULL DEFAULT now(),
    message     text NOT NULL DEFAULT '',
    -- Why its work failed: then nothing is delivered.
    failure     text NOT NULL DEFAULT '',
    processed_name text NOT NULL DEFAULT '',
    processed_size bigint,
    output_uuid uuid,
    -- Of a TEMPORARY result: where it lies in our storage, and until when.
    output_uri  text NOT NULL DEFAULT '',
    expires_at  timestamptz,
    started_at  timestamptz,
    completed_at timestamptz
);
CREATE INDEX hook_item_order ON hook_item (order_id, id);
CREATE INDEX hook_item_owner ON hook_item (owner, id);
CREATE INDEX hook_item_name ON hook_item (owner, name, id);
CREATE INDEX hook_item_due ON hook_item (phase, priority DESC, id) WHERE phase IN ('resolve', 'deliver');
CREATE INDEX hook_item_aoi ON hook_item (aoi_id) WHERE aoi_id IS NOT NULL;
CREATE INDEX hook_item_expires ON hook_item (expires_at) WHERE output_uri <> '';

-- AOIs whose scenes or tiles have changed and may have ended with it; read and emptied by the service. Without a key, so that writers
-- never wait for each other.
CREATE TABLE hook_touched (
    aoi_id      bigint NOT NULL
);

CREATE FUNCTION hook_touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hook_touched (aoi_id)
    SELECT DISTINCT n.aoi_id FROM new_rows n JOIN old_rows o ON o.id = n.id AND o.status <> n.status
    JOIN hook_item i ON i.aoi_id = n.aoi_id WHERE n.status IN ('DONE', 'RETRY', 'FAILED');
    IF FOUND THEN
        PERFORM pg_notify('thresher_orders', '');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER scene_hook_touched AFTER UPDATE ON scene
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION hook_touch();
CREATE TRIGGER tile_hook_touched AFTER UPDATE ON tile
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION hook_touch();
