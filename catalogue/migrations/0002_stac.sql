-- What is read of the cube: STAC items (one a record and tile of an AOI), kept in step with the datasets by triggers; statistics of layers.

ALTER TABLE dataset ADD COLUMN statistics jsonb NOT NULL DEFAULT '[]';
CREATE INDEX dataset_record_tile ON dataset (record_id, tile);
CREATE INDEX record_name ON record (name text_pattern_ops);

-- Counts the changes of a record's tags, so that what was made of them can be told to be old without touching other rows.
ALTER TABLE record ADD COLUMN version integer NOT NULL DEFAULT 0;
CREATE FUNCTION count_record_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
CREATE TRIGGER record_version BEFORE UPDATE ON record
    FOR EACH ROW WHEN (OLD.tags IS DISTINCT FROM NEW.tags) EXECUTE FUNCTION count_record_version();

-- Counts the changes of variables and instances: they are few, and stand in every item.
CREATE TABLE stac_epoch (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    value       bigint NOT NULL
);
INSERT INTO stac_epoch (value) VALUES (0);
CREATE FUNCTION count_stac_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE stac_epoch SET value = value + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER variable_epoch AFTER UPDATE ON variable
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION count_stac_epoch();
CREATE TRIGGER instance_epoch AFTER UPDATE ON instance
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION count_stac_epoch();

CREATE TABLE stac_item (
    -- Ends every order, so that pages follow each other without gaps.
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    aoi         text NOT NULL,
    id          text NOT NULL,
    record_id   uuid NOT NULL REFERENCES record ON DELETE CASCADE,
    tile        text NOT NULL,
    datetime    timestamptz NOT NULL,
    footprint   bytea NOT NULL,
    bbox        box NOT NULL,
    -- The scene and the graphs it came from; stays when the scene is deleted.
    source      jsonb NOT NULL DEFAULT '{}',
    created     timestamptz NOT NULL,
    updated     timestamptz NOT NULL,
    revision    bigint NOT NULL DEFAULT 0,
    -- The item as it was last written out, valid while the stamp is the one of now; see catalogue/stac/documents.py.
    stamp       text NOT NULL DEFAULT '',
    document    text,
    UNIQUE (record_id, tile, aoi),
    UNIQUE (aoi, id)
);
-- With what else decides whether an item is wanted, so that rows that are not need not be read.
CREATE INDEX stac_item_time ON stac_item (datetime, number) INCLUDE (bbox, record_id);
CREATE INDEX stac_item_aoi_time ON stac_item (aoi, datetime, number) INCLUDE (bbox, record_id);
CREATE INDEX stac_item_id ON stac_item (id, number);
CREATE INDEX stac_item_bbox ON stac_item USING gist (bbox) INCLUDE (datetime, number, aoi, record_id);

CREATE TYPE stac_key AS (aoi text, record_id uuid, tile text);

-- The name of an AOI is compared as an expression: an index that begins with it would be the worst to take, and looks as good as any to a
-- plan made while the tables were small.
CREATE FUNCTION refresh_stac_items(keys stac_key[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM stac_item i USING unnest(keys) AS k
    WHERE i.record_id = k.record_id AND i.tile = k.tile AND i.aoi || '' = k.aoi
      AND NOT EXISTS (SELECT FROM dataset d WHERE d.record_id = k.record_id AND d.tile = k.tile AND d.aoi || '' = k.aoi);

    WITH found AS (
        SELECT k.aoi, k.record_id, k.tile, r.time, d.first_at, d.last_at, d.source,
               coalesce(d.footprint, r.footprint) AS footprint, coalesce(d.bbox, r.bbox) AS bbox,
               r.name || CASE WHEN split_part(k.tile, '@', 1) = r.name THEN '' ELSE '_' || split_part(k.tile, '@', 1) END AS base
        FROM unnest(keys) AS k
        JOIN record r ON r.id = k.record_id
        CROSS JOIN LATERAL (
            -- The outline of the largest layer; of its tile where the files have none.
            SELECT min(d.indexed_at) AS first_at, max(d.indexed_at) AS last_at,
                   (array_agg(coalesce(d.footprint, t.footprint) ORDER BY area(d.bbox) DESC NULLS LAST, d.layer))[1] AS footprint,
                   (array_agg(coalesce(d.bbox, t.bbox) ORDER BY area(d.bbox) DESC NULLS LAST, d.layer))[1] AS bbox,
                   (array_agg(jsonb_build_object('scene', s.source_id, 'item', s.data -> 'metadata' ->> 'item',
                                                 'download_link', s.data -> 'metadata' ->> 'download_link',
                                                 'scene_graph', s.data ->> 'graph_name', 'tile_graph', t.graph_name)
                              ORDER BY t.id DESC) FILTER (WHERE t.id IS NOT NULL))[1] AS source
            FROM dataset d LEFT JOIN tile t ON t.id = d.tile_id LEFT JOIN scene s ON s.id = t.scene_id
            WHERE d.record_id = k.record_id AND d.tile = k.tile AND d.aoi || '' = k.aoi
        ) AS d
        WHERE d.last_at IS NOT NULL
    ), named AS (
        -- Two records of one name and time differ in their tags only: the later item carries a part of its key.
        SELECT f.*, row_number() OVER (PARTITION BY f.aoi, f.base ORDER BY f.record_id, f.tile) > 1
                 OR EXISTS (SELECT FROM stac_item o WHERE o.id = f.base AND o.aoi || '' = f.aoi
                            AND (o.record_id, o.tile) IS DISTINCT FROM (f.record_id, f.tile)) AS taken
        FROM found f
    )
    INSERT INTO stac_item (aoi, id, record_id, tile, datetime, footprint, bbox, source, created, updated)
    SELECT aoi, CASE WHEN taken THEN base || '_' || left(md5(record_id::text || tile), 8) ELSE base END, record_id, tile, time,
           footprint, bbox, coalesce(source, '{}'), first_at, last_at
    FROM named ORDER BY record_id, tile, aoi
    ON CONFLICT (record_id, tile, aoi) DO UPDATE SET
        footprint = excluded.footprint, bbox = excluded.bbox, updated = excluded.updated, revision = stac_item.revision + 1,
        source = CASE WHEN excluded.source = '{}' THEN stac_item.source ELSE excluded.source END, stamp = '', document = NULL;
END $$;

CREATE FUNCTION dataset_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refresh_stac_items(keys) FROM (
        SELECT array_agg(DISTINCT (aoi, record_id, tile)::stac_key) AS keys FROM new_rows
    ) AS changed WHERE keys IS NOT NULL;
    RETURN NULL;
END $$;

-- A dataset that only forgets a deleted tile is the same as before.
CREATE FUNCTION dataset_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refresh_stac_items(keys) FROM (
        SELECT array_agg(DISTINCT (c.aoi, c.record_id, c.tile)::stac_key) AS keys
        FROM old_rows o JOIN new_rows n ON n.id = o.id
        CROSS JOIN LATERAL (VALUES (o.aoi, o.record_id, o.tile), (n.aoi, n.record_id, n.tile)) AS c (aoi, record_id, tile)
        WHERE (o.aoi, o.record_id, o.tile, o.uri, o.indexed_at) IS DISTINCT FROM (n.aoi, n.record_id, n.tile, n.uri, n.indexed_at)
    ) AS changed WHERE keys IS NOT NULL;
    RETURN NULL;
END $$;

CREATE FUNCTION dataset_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refresh_stac_items(keys) FROM (
        SELECT array_agg(DISTINCT (aoi, record_id, tile)::stac_key) AS keys FROM old_rows
    ) AS changed WHERE keys IS NOT NULL;
    RETURN NULL;
END $$;

CREATE TRIGGER dataset_inserted AFTER INSERT ON dataset
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION dataset_inserted();
CREATE TRIGGER dataset_updated AFTER UPDATE ON dataset
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION dataset_updated();
CREATE TRIGGER dataset_deleted AFTER DELETE ON dataset
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION dataset_deleted();

SELECT refresh_stac_items(keys) FROM (
    SELECT array_agg(DISTINCT (aoi, record_id, tile)::stac_key) AS keys FROM dataset
) AS there WHERE keys IS NOT NULL;
