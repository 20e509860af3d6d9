"""The table of everything this service answers: the router and the OpenAPI description are both made from it."""

from __future__ import annotations

from catalogue.cube.datasets import Dataset
from catalogue.cube.records import Record
from catalogue.cube.variables import Variable, VariableSpec
from catalogue.hook.endpoints import ORDERING
from catalogue.http import areas, catalog, cube, system
from catalogue.http.endpoint import JSON, STRING, TEXT, Answer, Content, Endpoint, ListOf, Schema
from catalogue.http.reading import READING
from catalogue.workflow import views
from catalogue.workflow.dead import DeadLetter
from catalogue.workflow.deletions import DeletionState
from common.payload import Payload

FEATURE_COLLECTION: Schema = {
    "type": "object",
    "required": ["type", "features", "properties"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {"type": "object", "required": ["type", "geometry", "properties"]}},
        "properties": {
            "type": "object",
            "properties": {"next": {"enum": ["true", "false"]}, "notes": {"type": "array", "items": STRING}},
        },
    },
}
INGESTION: Schema = {
    "type": "object",
    "properties": {
        "name": STRING,
        "scene_count": {"type": "integer"},
        "tile_count": {"type": "integer"},
        "scenes": {"type": "array", "items": {"type": "object"}},
        "seconds": {"type": "number"},
        "notes": {"type": "array", "items": STRING},
        "results": {"type": "array", "items": {"type": "object"}},
    },
}
RETRIED: Schema = {
    "type": "object",
    "required": ["Scenes", "Tiles"],
    "properties": {"Scenes": {"type": "integer"}, "Tiles": {"type": "integer"}},
}


PAYLOAD: Schema = {
    "allOf": [
        Payload,
        {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": ["Feature", "FeatureCollection", "Polygon", "MultiPolygon", "GeometryCollection"]}},
        },
    ],
    "description": "The fields of a payload, in a GeoJSON Feature, FeatureCollection or geometry, which is its area",
    "examples": [
        {
            "type": "Polygon",
            "coordinates": [[[10.2, 50.2], [10.8, 50.2], [10.8, 50.8], [10.2, 50.8], [10.2, 50.2]]],
            "name": "Example",
            "start_time": "2024-01-01T00:00:00Z",
            "end_time": "2024-02-01T00:00:00Z",
            "scene_type": {"constellation": "sentinel2", "parameters": {"producttype": "S2MSI2A"}},
            "scene_graph_name": "CopyProductToStorage",
            "tile_graph_name": "Pass",
        }
    ],
}


def _form(*fields: str, many_areas: bool = False) -> dict[str, Content]:
    area: Schema = {"type": "string", "contentMediaType": JSON, "contentSchema": PAYLOAD}
    areas: Schema = {"type": "array", "items": area, "minItems": 1} if many_areas else area
    return {
        "multipart/form-data": {
            "type": "object",
            "required": ["area"],
            "properties": {name: areas if name == "area" else STRING for name in fields},
            "additionalProperties": False,
        },
        JSON: PAYLOAD,
    }


_SUMMARY = Answer("Where the AOI stands", {JSON: {"anyOf": [views.AoiSummary, ListOf(views.AoiHead)]}, TEXT: STRING})
_SCENES = {200: Answer("Scenes", {JSON: ListOf(views.SceneView)})}
_TILES = {200: Answer("Tiles", {JSON: ListOf(views.TileView)})}
_ENDS = {200: Answer("Tiles", {JSON: ListOf(views.TileHead)})}
_DELETIONS = {200: Answer("State", {JSON: DeletionState})}
_CHANGED = {200: Answer("Changed"), 403: Answer("The state of the item does not allow it")}
_FOUND = {200: Answer("Scenes as GeoJSON", {JSON: FEATURE_COLLECTION})}
_PAGE = ("page", "limit")
_OF_SEARCH = {"page": "payload_page", "limit": "payload_limit"}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/", system.root, "Whether the service lives", {200: Answer("It does", {TEXT: STRING})}, open=True),
    Endpoint("GET", "/healthz", system.healthz, "Liveness", {200: Answer("Alive", {TEXT: STRING})}, open=True),
    Endpoint(
        "GET",
        "/readyz",
        system.readyz,
        "Readiness: database and broker answer",
        {200: Answer("Ready", {JSON: {"type": "object"}}), 503: Answer("Not ready", {JSON: {"type": "object"}})},
        open=True,
    ),
    Endpoint("GET", "/metrics", system.metrics, "Figures for Prometheus", {200: Answer("Metrics", {TEXT: STRING})}),
    Endpoint(
        "GET",
        "/openapi.json",
        system.description,
        "This description",
        {200: Answer("OpenAPI 3.1", {JSON: {"type": "object", "required": ["openapi", "paths"]}})},
        open=True,
    ),
    *(
        Endpoint(method, path, handler, summary, _FOUND, query=_PAGE, described=_OF_SEARCH, body=body)
        for path, handler, summary, body in (
            ("/catalog/scenes", catalog.list_scenes, "The scenes of an area in the external catalogues", _form("area")),
            ("/catalog/tiles", catalog.list_tiles, "The tiles of an area, or of reviewed scenes", _form("area", "scenes")),
        )
        for method in ("POST", "GET")
    ),
    Endpoint(
        "POST",
        "/catalog/aoi",
        catalog.post_aoi,
        "Ingest an area, or several, with its scenes or tiles where these were reviewed",
        {
            200: Answer("Begun", {TEXT: STRING, JSON: INGESTION}),
            207: Answer("A batch of areas of which some failed", {JSON: INGESTION}),
        },
        query=_PAGE,
        described=_OF_SEARCH,
        body=_form("area", "scenes", "tiles", many_areas=True),
    ),
    Endpoint("GET", "/aoi/", areas.list_aois, "All AOIs", {200: Answer("AOIs", {JSON: ListOf(views.AoiHead)})}),
    Endpoint(
        "GET",
        "/aoi/{aoi}",
        areas.get_aoi,
        "Where an AOI stands; with * or ? in its name the AOIs that match",
        {200: _SUMMARY},
        described={"aoi": "aoi_or_pattern"},
    ),
    Endpoint("POST", "/aoi/{aoi}", areas.create_aoi, "Create an empty AOI", {204: Answer("Created"), 409: Answer("It exists")}),
    Endpoint(
        "DELETE",
        "/aoi/{aoi}",
        areas.delete_aoi,
        "Cancel and delete an AOI; layers, datasets and records stay unless layers=true",
        {204: Answer("Deleted")},
        query=("layers",),
    ),
    Endpoint("PUT", "/aoi/{aoi}/pause", areas.pause_aoi, "Send no more jobs of an AOI", {204: Answer("Paused")}),
    Endpoint("PUT", "/aoi/{aoi}/resume", areas.resume_aoi, "Send jobs of an AOI again", {204: Answer("Resumed")}),
    Endpoint(
        "GET",
        "/aoi/{aoi}/events",
        areas.watch_aoi,
        "What happens in an AOI, as server-sent events: summary, status, progress",
        {200: Answer("Until you leave", {"text/event-stream": STRING})},
    ),
    Endpoint("GET", "/aoi/{aoi}/dot", areas.get_dot, "Scenes and tiles as a graph", {200: Answer("Graphviz", {TEXT: STRING})}),
    Endpoint("GET", "/aoi/{aoi}/scenes", areas.list_scenes, "The scenes of an AOI", _SCENES, query=_PAGE),
    Endpoint("GET", "/aoi/{aoi}/scenes/{status}", areas.list_scenes, "The scenes of an AOI in a state", _SCENES, query=_PAGE),
    Endpoint("GET", "/aoi/{aoi}/tiles/{status}", areas.list_tiles, "The tiles of an AOI in a state", _TILES, query=_PAGE),
    Endpoint("GET", "/aoi/{aoi}/roottiles", areas.list_root_tiles, "The first tile of each series", _ENDS),
    Endpoint("GET", "/aoi/{aoi}/leaftiles", areas.list_leaf_tiles, "The last tile of each series", _ENDS),
    Endpoint(
        "PUT",
        "/aoi/{aoi}/retry",
        areas.retry_aoi,
        "Retry what is RETRY",
        {200: Answer("How many", {JSON: RETRIED}), 204: Answer("Nothing to retry")},
    ),
    Endpoint(
        "PUT",
        "/aoi/{aoi}/retry/force",
        areas.force_retry_aoi,
        "Retry what is RETRY, PENDING or FAILED",
        {200: Answer("How many", {JSON: RETRIED}), 204: Answer("Nothing to retry")},
    ),
    Endpoint("GET", "/scene/{scene}", areas.get_scene, "A scene and its attempts", {200: Answer("Scene", {JSON: views.SceneView})}),
    Endpoint("GET", "/scene/{scene}/tiles", areas.list_scene_tiles, "The tiles of a scene", _TILES),
    Endpoint("PUT", "/scene/{scene}/retry", areas.retry_scene, "Retry a scene that is RETRY", _CHANGED),
    Endpoint("PUT", "/scene/{scene}/fail", areas.fail_scene, "Give a scene up", _CHANGED),
    Endpoint("PUT", "/scene/{scene}/force/{status}", areas.force_scene, "Set the status of a scene", _CHANGED),
    Endpoint("GET", "/tile/{tile}", areas.get_tile, "A tile and its attempts", {200: Answer("Tile", {JSON: views.TileView})}),
    Endpoint("PUT", "/tile/{tile}/retry", areas.retry_tile, "Retry a tile that is RETRY", _CHANGED),
    Endpoint("PUT", "/tile/{tile}/fail", areas.fail_tile, "Give a tile up", _CHANGED),
    Endpoint("PUT", "/tile/{tile}/force/{status}", areas.force_tile, "Set the status of a tile", _CHANGED),
    Endpoint(
        "GET",
        "/dead",
        system.list_dead,
        "Messages nobody could read or run",
        {200: Answer("Letters", {JSON: ListOf(DeadLetter)})},
        query=_PAGE,
    ),
    Endpoint(
        "PUT",
        "/dead/{seq}/retry",
        system.retry_dead,
        "Send a dead letter again",
        {200: Answer("What was done", {JSON: {"type": "object", "required": ["done"], "properties": {"done": STRING}}})},
    ),
    Endpoint("GET", "/deletions", system.get_deletions, "What waits to be deleted", _DELETIONS),
    Endpoint("PUT", "/deletions/hold/{minutes}", system.hold_deletions_for, "Delete nothing for so long, as for a backup", _DELETIONS),
    Endpoint("DELETE", "/deletions/hold", system.end_hold, "Delete again", _DELETIONS),
    Endpoint("GET", "/cube/variables", cube.list_variables, "All variables", {200: Answer("Variables", {JSON: ListOf(Variable)})}),
    Endpoint(
        "GET",
        "/cube/variables/{name}",
        cube.get_variable,
        "A variable",
        {200: Answer("Variable", {JSON: Variable})},
        described={"name": "variable_name"},
    ),
    Endpoint(
        "PUT",
        "/cube/variables/{name}",
        cube.put_variable,
        "Create or update a variable; instances are added, never removed",
        {200: Answer("Updated", {JSON: Variable}), 201: Answer("Created", {JSON: Variable}), 409: Answer("Datasets need its format")},
        described={"name": "variable_name"},
        body={JSON: VariableSpec},
    ),
    Endpoint(
        "GET",
        "/cube/records",
        cube.list_records,
        "Records, by time",
        {200: Answer("A page", {JSON: ListOf(Record, "records")})},
        query=("name", "tags", "datetime", "bbox", *_PAGE),
        described={"name": "record_name"},
    ),
    Endpoint("GET", "/cube/records/{id}", cube.get_record, "A record", {200: Answer("Record", {JSON: Record})}),
    Endpoint(
        "GET",
        "/cube/datasets",
        cube.list_datasets,
        "Datasets, by time",
        {200: Answer("A page", {JSON: ListOf(Dataset, "datasets")})},
        query=("aoi", "record", "variable", "instance", *_PAGE),
        described={"aoi": "in_aoi"},
    ),
    *READING,
    *ORDERING,
)
