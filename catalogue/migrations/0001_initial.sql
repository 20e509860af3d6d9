-- The whole house: areas, scenes, tiles, jobs; the cube of variables, records and datasets; files to delete.
-- Footprints are WKB (EPSG:4326) plus a box for the index; exact geometry is decided outside the database.

CREATE TYPE item_status AS ENUM ('NEW', 'PENDING', 'DONE', 'RETRY', 'FAILED');
CREATE TYPE job_kind AS ENUM ('scene', 'tile');
-- held: ready, but its AOI is paused.
CREATE TYPE job_state AS ENUM ('ready', 'held', 'sent', 'finished');

CREATE TABLE aoi (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    paused      boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- What was posted, as it was posted.
CREATE TABLE payload (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    aoi_id      bigint NOT NULL REFERENCES aoi ON DELETE CASCADE,
    document    jsonb NOT NULL,
    area        bytea NOT NULL,
    posted_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payload_aoi ON payload (aoi_id);

CREATE TABLE variable (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text NOT NULL UNIQUE,
    unit        text NOT NULL,
    description text NOT NULL,
    dtype       text NOT NULL,
    nodata      double precision NOT NULL,
    min_value   double precision NOT NULL,
    max_value   double precision NOT NULL,
    bands       text[] NOT NULL
);

CREATE TABLE instance (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    variable_id uuid NOT NULL REFERENCES variable ON DELETE CASCADE,
    name        text NOT NULL,
    metadata    jsonb NOT NULL DEFAULT '{}',
    UNIQUE (variable_id, name)
);

CREATE TABLE record (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text NOT NULL,
    time        timestamptz NOT NULL,
    -- SHA-256 of the tags that make the record what it is; see catalogue/cube/records.py.
    identity    bytea NOT NULL,
    tags        jsonb NOT NULL,
    footprint   bytea NOT NULL,
    bbox        box NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (name, time, identity)
);
CREATE INDEX record_time ON record (time);
CREATE INDEX record_bbox ON record USING gist (bbox);
CREATE INDEX record_tags ON record USING gin (tags jsonb_path_ops);

CREATE TABLE scene (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    aoi_id      bigint NOT NULL REFERENCES aoi ON DELETE CASCADE,
    source_id   text NOT NULL,
    date        timestamptz NOT NULL,
    -- The `data` of the reference but for what has a column of its own.
    data        jsonb NOT NULL,
    tags        jsonb NOT NULL,
    footprint   bytea NOT NULL,
    bbox        box NOT NULL,
    record_id   uuid REFERENCES record,
    -- The area layers are cut to, where the payload asks for it.
    clip        bytea,
    capability  text NOT NULL,
    priority    integer NOT NULL,
    status      item_status NOT NULL DEFAULT 'PENDING',
    message     text NOT NULL DEFAULT '',
    retries_left integer NOT NULL,
    UNIQUE (aoi_id, source_id)
);
CREATE INDEX scene_status ON scene (aoi_id, status);
CREATE INDEX scene_record ON scene (record_id);

CREATE TABLE tile (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scene_id    bigint NOT NULL REFERENCES scene ON DELETE CASCADE,
    aoi_id      bigint NOT NULL REFERENCES aoi ON DELETE CASCADE,
    source_id   text NOT NULL,
    swath_id    text NOT NULL,
    tile_nr     integer NOT NULL,
    -- What tiles of one series share: of a burst ESA's burst id, else the source_id; see catalogue/sentinel1/series.py.
    place       text NOT NULL DEFAULT '',
    graph_name  text NOT NULL,
    is_retriable boolean NOT NULL,
    anx_time    integer NOT NULL,
    footprint   bytea NOT NULL,
    bbox        box NOT NULL,
    previous_id bigint REFERENCES tile ON DELETE SET NULL,
    reference_id bigint REFERENCES tile ON DELETE SET NULL,
    -- A person chose previous and reference: later posts leave them as they are.
    linked_by_hand boolean NOT NULL DEFAULT false,
    capability  text NOT NULL,
    status      item_status NOT NULL DEFAULT 'NEW',
    message     text NOT NULL DEFAULT '',
    retries_left integer NOT NULL,
    UNIQUE (scene_id, source_id)
);
CREATE INDEX tile_status ON tile (aoi_id, status);
CREATE INDEX tile_place ON tile (aoi_id, place);
CREATE INDEX tile_previous ON tile (previous_id) WHERE previous_id IS NOT NULL;
CREATE INDEX tile_reference ON tile (reference_id) WHERE reference_id IS NOT NULL;

-- One attempt at a scene or a tile. It decides; the broker only carries.
CREATE TABLE job (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    kind        job_kind NOT NULL,
    scene_id    bigint REFERENCES scene ON DELETE CASCADE,
    tile_id     bigint REFERENCES tile ON DELETE CASCADE,
    attempt     integer NOT NULL,
    priority    integer NOT NULL,
    capability  text NOT NULL,
    state       job_state NOT NULL DEFAULT 'ready',
    send        integer NOT NULL DEFAULT 0,
    sent_at     timestamptz,
    stream_seq  bigint,
    not_before  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    worker      text NOT NULL DEFAULT '',
    started_at  timestamptz,
    ended_at    timestamptz,
    outcome     text NOT NULL DEFAULT '',
    error_kind  text NOT NULL DEFAULT '',
    message     text NOT NULL DEFAULT '',
    CHECK ((kind = 'scene') = (tile_id IS NULL) AND (kind = 'tile') = (scene_id IS NULL))
);
CREATE UNIQUE INDEX job_live_scene ON job (scene_id) WHERE state <> 'finished' AND scene_id IS NOT NULL;
CREATE UNIQUE INDEX job_live_tile ON job (tile_id) WHERE state <> 'finished' AND tile_id IS NOT NULL;
CREATE INDEX job_scene ON job (scene_id) WHERE scene_id IS NOT NULL;
CREATE INDEX job_tile ON job (tile_id) WHERE tile_id IS NOT NULL;
CREATE INDEX job_ready ON job (kind, priority DESC, seq) WHERE state = 'ready';
CREATE INDEX job_sent ON job (kind, sent_at) WHERE state = 'sent';

CREATE TABLE dataset (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    record_id   uuid NOT NULL REFERENCES record,
    instance_id uuid NOT NULL REFERENCES instance,
    tile        text NOT NULL,
    tile_id     bigint REFERENCES tile ON DELETE SET NULL,
    aoi         text NOT NULL,
    job_id      uuid NOT NULL,
    layer       text NOT NULL,
    uri         text NOT NULL,
    size        bigint NOT NULL,
    sha256      text NOT NULL,
    dtype       text NOT NULL,
    nodata      double precision NOT NULL,
    min_value   double precision NOT NULL,
    max_value   double precision NOT NULL,
    real_min    double precision NOT NULL,
    real_max    double precision NOT NULL,
    exponent    double precision NOT NULL,
    bands       integer NOT NULL,
    epsg        integer,
    shape       integer[],
    transform   double precision[],
    footprint   bytea,
    bbox        box,
    indexed_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (record_id, instance_id, tile)
);
CREATE INDEX dataset_aoi ON dataset (aoi);
CREATE INDEX dataset_uri ON dataset (uri);
CREATE INDEX dataset_instance ON dataset (instance_id);
CREATE INDEX dataset_tile ON dataset (tile_id) WHERE tile_id IS NOT NULL;
CREATE INDEX dataset_bbox ON dataset USING gist (bbox);

-- Files to delete: written in the transaction that makes them superfluous, carried out after it.
CREATE TABLE deletion (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uri         text NOT NULL,
    attempts    integer NOT NULL DEFAULT 0,
    not_before  timestamptz NOT NULL DEFAULT now(),
    last_error  text NOT NULL DEFAULT ''
);
CREATE INDEX deletion_due ON deletion (not_before);

-- Tiles of which an execution may have stored layers and never told of them.
CREATE TABLE doubtful_tile (
    tile_id     bigint PRIMARY KEY REFERENCES tile ON DELETE CASCADE,
    since       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX doubtful_tile_since ON doubtful_tile (since);

-- Every change of a status, by whatever statement, is told to those who watch the AOI: {"aoi", "kind", "items": [[id, source_id, status]]},
-- at most 40 items a message (a notification holds 8,000 bytes; a source_id at most 255).
CREATE FUNCTION tell_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('thresher_status', jsonb_build_object('aoi', a.name, 'kind', TG_TABLE_NAME, 'items', c.items)::text)
    FROM (
        SELECT aoi_id, jsonb_agg(jsonb_build_array(id, left(source_id, 100), status) ORDER BY id) AS items
        FROM (SELECT n.aoi_id, n.id, n.source_id, n.status, row_number() OVER (PARTITION BY n.aoi_id ORDER BY n.id) / 40 AS part
              FROM new_rows n JOIN old_rows o ON o.id = n.id AND o.status <> n.status) AS changed
        GROUP BY aoi_id, part
    ) AS c JOIN aoi a ON a.id = c.aoi_id;
    RETURN NULL;
END $$;
CREATE TRIGGER scene_status_told AFTER UPDATE ON scene
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION tell_status();
CREATE TRIGGER tile_status_told AFTER UPDATE ON tile
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION tell_status();
