"""Bursts as the tiles of scenes: listed from a service or from annotations for review, with what each follows; and read back from a review.

ESA's burst ids travel in `data.metadata.burst_ids` of the scene, `{tile id: burst id}`; the tiles themselves stay those of the reference.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import shapely
from shapely.geometry.base import BaseGeometry

from catalogue.sentinel1.annotations.files import AnnotationFile
from catalogue.sentinel1.annotations.reader import AnnotationReader
from catalogue.sentinel1.burst_ids import MOST
from catalogue.sentinel1.bursts import Burst, read_bursts
from catalogue.sentinel1.bursts_api import BurstService
from catalogue.sentinel1.series import NO_LINKS, SeriesTile, TileName, is_burst, link, place_of_tile, repeats, series_tile
from common.errors import ThresherError, UpstreamError, UserError
from common.features import SceneFeature, TileData, TileFeature, TileLink, TilePlace
from common.geometry import split_at_antimeridian
from common.payload import Payload
from common.threads import Stop, in_thread
from common.validation import shown_key

BURST_IDS = "burst_ids"
_MARGIN_DEG = 0.05
"""Around the area, within which bursts are kept, as in the reference."""
_SHOWN = 5

_log = logging.getLogger(__name__)

ExistingBursts = Callable[[Sequence[SeriesTile]], Awaitable[Sequence[SeriesTile]]]
"""The live tiles the AOI has already that may belong to the series of those given."""


async def list_bursts(
    payload: Payload,
    scenes: Sequence[SceneFeature],
    reader: AnnotationReader,
    existing: ExistingBursts,
    service: BurstService | None = None,
) -> tuple[list[SceneFeature], list[str]]:
    """The scenes with those of their bursts that lie in the area, linked among themselves and to what the AOI has; and notes on what is
    left out and why.

    The `service` is asked first, the annotations are read of the scenes whose bursts it does not list. Raises UserError for a pattern of
    annotations that cannot be used, UpstreamError with the reasons if no scene's bursts can be listed.
    """
    listing = _Listing(payload, await in_thread(partial(_wanted_area, payload)))
    remaining: Sequence[SceneFeature] = scenes
    if service is not None:
        async for scene, bursts in service.read_many(scenes):
            await listing.add(scene, bursts if isinstance(bursts, ThresherError) else partial(list, bursts))
        remaining = [scene for scene in scenes if scene.source_id in listing.errors]
    if service is None or reader.has_sources(payload.annotations_urls):
        async for scene, files in reader.read_many(remaining, aoi=payload.name, more=payload.annotations_urls):
            await listing.add(scene, files if isinstance(files, ThresherError) else partial(_of_annotations, scene, files))
    errors = listing.errors
    for source_id, error in errors.items():
        _log.warning("bursts of %s: %s", source_id, error)
    if errors and len(errors) == len(scenes):
        reasons = [*list(errors.values())[:_SHOWN], *([f"and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else [])]
        raise UpstreamError(f"the bursts of no scene can be listed: {'; '.join(reasons)}")
    notes = [*listing.notes, *(f"{source_id} is left out: {error}" for source_id, error in errors.items())]
    ordered = [listing.found[scene.source_id] for scene in scenes if scene.source_id in listing.found]
    linked, repeated = await link_scenes(ordered, existing)
    return linked, [*sorted(notes), *repeated]


@dataclass
class _Listing:
    """What has been found of the scenes."""

    payload: Payload
    area: BaseGeometry
    found: dict[str, SceneFeature] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    """Of scenes whose bursts no source has given so far: what each of them said."""
    notes: list[str] = field(default_factory=list)

    async def add(self, scene: SceneFeature, bursts: Callable[[], Sequence[Burst]] | ThresherError) -> None:
        """What a source says of a scene; raises UserError."""
        try:
            if isinstance(bursts, ThresherError):
                raise bursts
            with_tiles = await in_thread(partial(_with_bursts, self.payload, scene, bursts, self.area))
        except UserError:
            raise
        except ThresherError as error:
            _log.info("bursts of %s: %s", scene.source_id, error)
            before = self.errors.get(scene.source_id)
            self.errors[scene.source_id] = f"{before}; {error}" if before else str(error)
            return
        self.errors.pop(scene.source_id, None)
        if with_tiles.tiles:
            self.found[scene.source_id] = with_tiles
        else:
            self.notes.append(f"{scene.source_id} is left out: none of its bursts lies in the area")


async def link_scenes(scenes: Sequence[SceneFeature], existing: ExistingBursts) -> tuple[list[SceneFeature], list[str]]:
    """The scenes without the bursts that another one holds, every tile with its links among them and to the existing ones; and notes."""
    listed = series_tiles(scenes)
    if not listed:
        return list(scenes), []
    there = await existing(listed)
    names = {tile.name for tile in there}
    new = [tile for tile in listed if tile.name not in names]
    dropped = repeats(new, there)
    tiles = [*there, *(tile for tile in new if tile.name not in dropped)]
    links = link(tiles)
    dates = {tile.name: tile.date for tile in tiles}

    def target(name: TileName | None) -> TileLink | None:
        return TileLink(source_id=name.tile, scene_id=name.scene, date=dates[name]) if name in dates else None

    def with_links(scene: SceneFeature) -> SceneFeature:
        linked: list[TileFeature] = []
        for tile in scene.tiles:
            previous, reference = links.get(TileName(scene.source_id, tile.source_id), NO_LINKS)
            linked.append(tile.model_copy(update={"previous": target(previous), "reference": target(reference)}))
        return scene.model_copy(update={"tiles": linked})

    remaining = [with_links(without_tiles(scene, dropped)) for scene in scenes]
    return [scene for scene in remaining if scene.tiles], repeat_notes(dropped)


def burst_places(scene: SceneFeature, where: str = "") -> dict[str, str]:
    """The places of those tiles of a scene that are bursts, by tile id; raises UserError naming a member of `where`."""
    written = (scene.data.metadata.model_extra or {}).get(BURST_IDS) or {}
    field = f"{where}.data.metadata.{BURST_IDS}".removeprefix(".")
    if not isinstance(written, dict):
        raise UserError("must be an object of tile ids and burst ids", field=field)
    for tile, number in written.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= MOST:
            raise UserError(f"must be a burst id, 1 to {MOST}", field=f"{field}.{shown_key(tile)}")
    return {tile.source_id: place_of_tile(tile.source_id, written.get(tile.source_id)) for tile in scene.tiles if is_burst(tile.source_id)}


def series_tiles(scenes: Iterable[SceneFeature]) -> list[SeriesTile]:
    """The bursts of the scenes, as new tiles of their series; raises UserError as `burst_places`."""
    return [
        series_tile(TileName(scene.source_id, name), scene.data.date, place)
        for scene in scenes
        for name, place in burst_places(scene).items()
    ]


def without_tiles(scene: SceneFeature, dropped: Iterable[TileName]) -> SceneFeature:
    """The scene without the tiles that are dropped."""
    names = {name.tile for name in dropped if name.scene == scene.source_id}
    if not names:
        return scene
    data = scene.data.model_copy(update={"tiles": {name: place for name, place in scene.data.tiles.items() if name not in names}})
    return scene.model_copy(update={"data": data, "tiles": [tile for tile in scene.tiles if tile.source_id not in names]})


def repeat_notes(dropped: Mapping[TileName, TileName]) -> list[str]:
    """What to tell of bursts that another scene of the same pass holds."""
    tiles: dict[tuple[str, str], list[str]] = {}
    for name, kept in dropped.items():
        tiles.setdefault((name.scene, kept.scene), []).append(name.tile)
    return [
        f"{', '.join(sorted(names))} of {scene} left out: {kept} of the same pass holds the same bursts"
        for (scene, kept), names in sorted(tiles.items())
    ]


def _wanted_area(payload: Payload, _: Stop) -> BaseGeometry:
    area = split_at_antimeridian(payload.area.buffer(_MARGIN_DEG))
    shapely.prepare(area)
    return area


def _of_annotations(scene: SceneFeature, files: Sequence[AnnotationFile]) -> list[Burst]:
    orbit = scene.tags.get("relativeOrbit", "")
    return read_bursts(
        scene.source_id,
        files,
        direction=scene.tags.get("orbitDirection", ""),
        relative_orbit_number=int(orbit) if orbit.isdecimal() else None,
    )


def _with_bursts(
    payload: Payload, scene: SceneFeature, bursts_of: Callable[[], Sequence[Burst]], area: BaseGeometry, _: Stop
) -> SceneFeature:
    bursts = bursts_of()
    inside = shapely.intersects(area, shapely.from_wkt([burst.wkt for burst in bursts]))
    kept = [burst for burst, is_inside in zip(bursts, inside, strict=True) if is_inside]
    ids = {burst.tile_id: burst.burst_id for burst in kept if burst.burst_id is not None}
    data = scene.data.model_copy(
        update={
            "tiles": {burst.tile_id: TilePlace(swath_id=burst.swath, tile_nr=burst.number) for burst in kept},
            "metadata": scene.data.metadata.model_copy(update={BURST_IDS: ids} if ids else {}),
        }
    )
    return scene.model_copy(update={"data": data, "tiles": [_tile(payload, scene, burst) for burst in kept]})


def _tile(payload: Payload, scene: SceneFeature, burst: Burst) -> TileFeature:
    return TileFeature(
        source_id=burst.tile_id,
        scene_id=scene.source_id,
        date=scene.data.date,
        wkt=burst.wkt,
        anx_time=burst.anx_time_ds,
        data=TileData(swath_id=burst.swath, tile_nr=burst.number, graph_name=payload.tile_graph_name, is_retriable=payload.is_retriable),
    )
