"""Scenes and tiles as they travel between the catalogue and a person: GeoJSON features with the field names of the reference.

`SceneCollection` is what `/catalog/scenes` and `/catalog/tiles` answer and what `/catalog/aoi` takes back, edited or not. Written in
the names of the reference; read also in snake case and in the older capitalised names of saved files.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, JsonValue, model_validator
from shapely.geometry import MultiPolygon, Polygon, mapping
from shapely.geometry.base import BaseGeometry

from common.errors import UserError
from common.geometry import footprint_from_wkt
from common.times import UtcDatetime
from common.validation import Int32, Int64, validated


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


def _none_is_text(value: object) -> object:
    return "" if value is None else value


def _none_is_no_list(value: object) -> object:
    return [] if value is None else value


def _none_if_not_a_number(value: object) -> object:
    """JSON has no NaN; where a no-data value is NaN the file itself says so."""
    return None if isinstance(value, str) and value.lower() == "nan" else value


Text = Annotated[str, BeforeValidator(_none_is_text)]
TextMap = Annotated[dict[str, str], BeforeValidator(_none_is_empty)]


class Feature(BaseModel):
    """A value read from and written to JSON; unknown keys are kept out, known ones accept their older names."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")


class TilePlace(Feature):
    """Where a tile lies in its scene: sub-swath and burst number (1-based); empty for a tile that is the whole scene."""

    swath_id: str = Field("", max_length=32)
    tile_nr: Int32 = 0


class AssetLink(Feature):
    """One file of a product in its external catalogue, with what is needed to read its values.

    Physical value = pixel * scale + offset, where these are known.
    """

    href: str
    key: str = ""
    media_type: str = ""
    size: Int64 | None = None
    checksum: str | None = None
    """Multihash, as STAC's `file:checksum`."""
    scale: FiniteFloat | None = None
    offset: FiniteFloat | None = None
    nodata: Annotated[FiniteFloat | None, BeforeValidator(_none_if_not_a_number)] = None


class SceneMetadata(BaseModel):
    """What the external catalogue said of a product that later steps need; further keys of people's own are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    uuid: str = ""
    download_link: str = ""
    catalogue: str = ""
    """Name of the configured external catalogue that answered."""
    item: str = ""
    """Link to the STAC item."""
    assets: dict[str, AssetLink] = Field(default_factory=dict)
    """By layer name of ours (`B02`, `SCL`, `QA_PIXEL`), whatever the catalogue calls it."""


class SceneData(Feature):
    """How a scene is ingested: what runs on it, with what settings, into which record."""

    date: UtcDatetime
    tiles: Annotated[dict[str, TilePlace], BeforeValidator(_none_is_empty)] = Field(default_factory=dict)
    graph_name: Text = ""
    graph_config: TextMap = Field(default_factory=dict)
    record_id: Text = ""
    instances_id: TextMap = Field(default_factory=dict)
    metadata: Annotated[SceneMetadata, BeforeValidator(_none_is_empty)] = SceneMetadata()
    is_retriable: bool = False
    storage_uri: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _older_uuid(cls, value: object) -> object:
        """Saved files of older versions carry `uuid` beside, not inside, the metadata."""
        if not isinstance(value, dict) or "uuid" not in value:
            return value
        metadata = value.get("metadata") or {}
        if isinstance(metadata, dict) and not metadata.get("uuid"):
            return {**value, "metadata": {**metadata, "uuid": value["uuid"]}}
        return value

    def document(self) -> dict[str, JsonValue]:
        """The JSON of the reference: empty maps of tiles and instances are left out."""
        document = self.model_dump(mode="json", exclude_none=True)
        for key in ("tiles", "instances_id"):
            if not document[key]:
                del document[key]
        metadata = document["metadata"]
        document["metadata"] = {key: value for key, value in metadata.items() if value not in ("", {}, None)}
        return document


class TileData(Feature):
    """How a tile is processed."""

    swath_id: Annotated[Text, Field(max_length=32)] = ""
    tile_nr: Int32 = 0
    graph_name: Text = ""
    is_retriable: bool = False


class TileLink(Feature):
    """A tile named by its place and its scene: the previous or the reference of another."""

    source_id: str = Field(validation_alias=AliasChoices("SourceID", "source_id"), serialization_alias="SourceID")
    scene_id: str = Field(validation_alias=AliasChoices("SceneID", "scene_id"), serialization_alias="SceneID")
    date: UtcDatetime = Field(validation_alias=AliasChoices("Date", "date"), serialization_alias="Date")


class TileFeature(TileLink):
    """A tile of a scene, as listed for review."""

    data: TileData = Field(TileData(), validation_alias=AliasChoices("data", "Data"))
    anx_time: Int32 = Field(0, validation_alias=AliasChoices("anx_time", "AnxTime"))
    """Burst start after the ascending node, in tenths of a second; 0 for a tile that is not a burst."""
    wkt: str = Field(validation_alias=AliasChoices("wkt", "GeometryWKT"))
    previous: TileLink | None = Field(None, validation_alias=AliasChoices("previous", "Previous"))
    reference: TileLink | None = Field(None, validation_alias=AliasChoices("reference", "Reference"))
    id: Int64 = Field(0, validation_alias=AliasChoices("id", "ID"))

    def footprint(self) -> BaseGeometry:
        return footprint_from_wkt(self.wkt)


class SceneFeature(Feature):
    """A scene, as listed for review and as posted back."""

    aoi: str = ""
    id: Int64 = 0
    source_id: str
    data: SceneData
    tags: TextMap = Field(default_factory=dict, validation_alias=AliasChoices("tags", "Tags"))
    wkt: str = Field(validation_alias=AliasChoices("wkt", "GeometryWKT"))
    tiles: Annotated[list[TileFeature], BeforeValidator(_none_is_no_list)] = Field(
        default_factory=list, validation_alias=AliasChoices("tiles", "Tiles")
    )

    def footprint(self) -> BaseGeometry:
        return footprint_from_wkt(self.wkt)

    def feature(self, index: int) -> dict[str, Any]:
        """The GeoJSON feature of the reference: the footprint, as a MultiPolygon with those of the tiles where there are tiles."""
        footprint = self.footprint()
        if isinstance(footprint, MultiPolygon) and len(footprint.geoms) == 1:
            footprint = footprint.geoms[0]
        if self.tiles and isinstance(footprint, Polygon):
            tiles = [tile.footprint() for tile in self.tiles]
            footprint = MultiPolygon([footprint, *(tile for tile in tiles if isinstance(tile, Polygon))])
        properties: dict[str, Any] = {
            "aoi": self.aoi,
            "id": self.id,
            "source_id": self.source_id,
            "data": self.data.document(),
            "tags": self.tags,
            "wkt": self.wkt,
        }
        if self.tiles:
            properties["tiles"] = [tile.model_dump(mode="json", by_alias=True) for tile in self.tiles]
        return {"type": "Feature", "id": index, "geometry": mapping(footprint), "properties": properties}


class SceneCollection(BaseModel):
    """A list of scenes as a GeoJSON FeatureCollection."""

    model_config = ConfigDict(frozen=True)

    scenes: list[SceneFeature]
    has_next: bool = False
    """Whether another page may hold more (`properties.next` of the reference)."""
    notes: list[str] = Field(default_factory=list)
    """What a person should know of this answer: scenes left out and why."""

    @model_validator(mode="before")
    @classmethod
    def _from_geojson(cls, value: object) -> object:
        if not (isinstance(value, dict) and "features" in value):
            return value
        features = value["features"]
        if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
            raise ValueError("'features' must be a list of GeoJSON features")
        return {"scenes": [feature.get("properties") for feature in features]}

    @classmethod
    def of_review(cls, document: dict[str, Any], *, where: str) -> Self:
        """The scenes of a GeoJSON document that came back from a person; raises UserError naming the member below `where`."""
        features = document.get("features")
        if not isinstance(features, list):
            raise UserError("must be a list of GeoJSON features, as /catalog/scenes and /catalog/tiles answer", field=f"{where}.features")
        scenes: list[SceneFeature] = []
        for index, feature in enumerate(features):
            properties = feature.get("properties") if isinstance(feature, dict) else None
            if not isinstance(properties, dict):
                raise UserError("must be a GeoJSON feature with properties", field=f"{where}.features.{index}")
            scenes.append(validated(SceneFeature, properties, where=f"{where}.features.{index}.properties"))
        return cls(scenes=scenes)

    def geojson(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": [scene.feature(index) for index, scene in enumerate(self.scenes)],
            "properties": {"next": "true" if self.has_next else "false"},
        }
        if self.notes:
            document["properties"]["notes"] = self.notes
        return document

    def with_scenes(self, scenes: list[SceneFeature]) -> Self:
        return self.model_copy(update={"scenes": scenes})
