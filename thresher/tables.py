"""Tables a person reads before and after the work: scenes with their volume, tiles, areas, variables, datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from shapely.geometry.base import BaseGeometry

from common.features import SceneCollection, SceneFeature
from common.payload import Payload
from thresher.answers import AreaLine, AreaStatus, Counts, Dataset, DeadLetter, Submission, Variable
from thresher.coverage import overlap_percent

UNKNOWN = "?"
_FOLDING = {"scene", "record", "tile", "payload", "result", "variables", "instances", "bands", "description"}


def print_table(console: Console, table: Table) -> None:
    """Print a table; without its frames where no person is looking."""
    if console.is_terminal:
        console.print(table)
        return
    table.box, table.padding = None, (0, 2, 0, 0)
    with console.capture() as capture:
        console.print(table)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def scenes_table(collection: SceneCollection, payload: Payload) -> Table:
    """A line for each scene by date, and their totals.

    `overlap` is the percentage of the payload's area under the scene (`thresher.coverage`), in the last line under all of them together.
    """
    table = _table("date", "satellite", "tile / orbit", ">cloud %", ">size", ">overlap %", ">tiles", "scene")
    scenes = sorted(collection.scenes, key=lambda scene: (scene.data.date, scene.source_id))
    footprints = [scene.footprint() for scene in scenes]
    sizes = [scene_size(scene, payload) for scene in scenes]
    for scene, footprint, size in zip(scenes, footprints, sizes, strict=True):
        table.add_row(
            f"{scene.data.date:%Y-%m-%d %H:%M}",
            scene.tags.get("satellite") or scene.tags.get("constellation") or UNKNOWN,
            place_of(scene),
            _percent(scene.tags.get("cloudCoverPercentage")),
            human_size(size),
            f"{overlap_percent(footprint, payload.area):.1f}",
            str(len(scene.tiles)) if scene.tiles else "",
            scene.source_id,
        )
    _total(table, f"{len(scenes)} scenes", "", "", "", _sum_of(sizes), _union_percent(footprints, payload), _tile_count(scenes), "")
    return table


def tiles_table(collection: SceneCollection, payload: Payload) -> Table:
    """A line for each tile by date, with the dates of its previous and its reference, and the totals."""
    table = _table("date", "satellite", "orbit", "tile", "swath", ">cloud %", ">size", ">overlap %", "previous", "reference")
    scenes = sorted(collection.scenes, key=lambda scene: (scene.data.date, scene.source_id))
    footprints: list[BaseGeometry] = []
    sizes = [scene_size(scene, payload) for scene in scenes]
    for scene, size in zip(scenes, sizes, strict=True):
        for index, tile in enumerate(sorted(scene.tiles, key=lambda tile: tile.source_id)):
            footprints.append(tile.footprint())
            table.add_row(
                f"{scene.data.date:%Y-%m-%d %H:%M}" if index == 0 else "",
                (scene.tags.get("satellite") or UNKNOWN) if index == 0 else "",
                _orbit(scene) if index == 0 else "",
                tile.source_id,
                f"{tile.data.swath_id} {tile.data.tile_nr}" if tile.data.swath_id else "",
                _percent(scene.tags.get("cloudCoverPercentage")) if index == 0 else "",
                human_size(size) if index == 0 else "",
                f"{overlap_percent(footprints[-1], payload.area):.1f}",
                f"{tile.previous.date:%Y-%m-%d}" if tile.previous else "",
                f"{tile.reference.date:%Y-%m-%d}" if tile.reference else "",
            )
    total = (
        f"{len(scenes)} scenes",
        "",
        "",
        f"{len(footprints)} tiles",
        "",
        "",
        _sum_of(sizes),
        _union_percent(footprints, payload),
        "",
        "",
    )
    _total(table, *total)
    return table


def submissions_table(submissions: Sequence[Submission], sources: Sequence[str]) -> Table:
    """What became of each payload; `sources` are the names of their files."""
    table = _table("payload", "area", ">scenes", ">tiles", "result")
    for source, submission in zip(sources, submissions, strict=True):
        if submission.problem is None:
            result = "[green]in progress[/]" if submission.scene_count or submission.tile_count else "nothing new"
            table.add_row(source, submission.name, str(submission.scene_count), str(submission.tile_count), result)
            continue
        problem = submission.problem
        table.add_row(
            source, submission.name, "", "", _plain(f"{problem.field}: {problem.sentence()}" if problem.field else problem.sentence())
        )
    return table


def said(submission: Submission) -> str:
    """What became of a payload that was taken, in words."""
    if not (submission.scene_count or submission.tile_count):
        return "nothing new: all that it finds is known already"
    return f"{submission.scene_count} scenes and {submission.tile_count} tiles in progress"


def areas_table(areas: Iterable[AreaLine]) -> Table:
    table = _table("area", "status")
    for area in sorted(areas, key=lambda area: area.name):
        table.add_row(area.name, _coloured(area.status))
    return table


def area_table(area: AreaStatus) -> Table:
    """Counts of an area by status."""
    table = _table(area.name, *(f">{status}" for status in Counts.model_fields))
    for name, counts in (("scenes", area.scenes), ("tiles", area.tiles)):
        table.add_row(name, *(str(getattr(counts, status)) for status in Counts.model_fields))
    return table


def variables_table(variables: Iterable[Variable]) -> Table:
    table = _table("variable", "instances", "unit", "format", "bands", "description")
    for variable in sorted(variables, key=lambda variable: variable.name):
        table.add_row(
            variable.name,
            ", ".join(instance.name for instance in variable.instances),
            variable.unit,
            f"{variable.dtype}, nodata {variable.nodata:g}, {variable.min_value:g} to {variable.max_value:g}",
            ", ".join(variable.bands),
            _plain(variable.description),
        )
    return table


def dead_table(letters: Sequence[DeadLetter]) -> Table:
    table = _table(">number", "time", "subject", "reason", "message")
    for letter in letters:
        time = f"{letter.time:%Y-%m-%d %H:%M:%S}" if letter.time else ""
        table.add_row(str(letter.seq), time, letter.subject, _plain(letter.reason), _plain(letter.data[:80]))
    return table


def datasets_table(datasets: Sequence[Dataset]) -> Table:
    """A line for each record and tile with the layers it has, and the totals."""
    table = _table("date", "record", "variables", "instance", "CRS", ">pixels", ">size")
    lines: dict[tuple[str, str, str], list[Dataset]] = {}
    for dataset in sorted(datasets, key=lambda dataset: (dataset.record.time, dataset.record.name, dataset.tile, dataset.variable)):
        lines.setdefault((dataset.record.id, dataset.tile, dataset.instance), []).append(dataset)
    for layers in lines.values():
        first = layers[0]
        shapes = Counter(layer.shape for layer in layers if layer.shape)
        table.add_row(
            f"{first.record.time:%Y-%m-%d}",
            first.record.name,
            " ".join(layer.variable for layer in layers),
            first.instance,
            f"EPSG:{first.epsg}" if first.epsg else UNKNOWN,
            " × ".join(str(side) for side in shapes.most_common(1)[0][0]) if shapes else UNKNOWN,
            human_size(sum(layer.size for layer in layers)),
        )
    _total(table, f"{len(lines)} products", "", f"{len(datasets)} datasets", "", "", "", human_size(sum(layer.size for layer in datasets)))
    return table


def scene_size(scene: SceneFeature, payload: Payload) -> int | None:
    """Bytes of the files that make up a scene: those of the payload's layers where the catalogue lists them, else all; None if unknown."""
    assets = scene.data.metadata.assets
    wanted = {layer: asset for layer, asset in assets.items() if layer in payload.layers} or assets
    sizes = [asset.size for asset in wanted.values() if asset.size is not None]
    return sum(sizes) if sizes and len(sizes) == len(wanted) else None


def place_of(scene: SceneFeature) -> str:
    """MGRS tile, path and row, or relative orbit: where the scene lies in its constellation's grid."""
    name = scene.source_id.split("_")
    if scene.source_id.startswith("S2") and len(name) > 5:
        return f"{name[5].removeprefix('T')} {_orbit(scene)}".strip()
    if scene.source_id.startswith("L") and len(name) > 2 and len(name[2]) == 6:
        return f"path {name[2][:3]} row {name[2][3:]}"
    return _orbit(scene) or UNKNOWN


def human_size(size: int | None) -> str:
    if size is None:
        return UNKNOWN
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _orbit(scene: SceneFeature) -> str:
    orbit = scene.tags.get("relativeOrbit", "")
    direction = scene.tags.get("orbitDirection", "")[:1].upper()
    return f"{direction}{orbit}" if direction else f"R{int(orbit):03d}" if orbit.isdigit() else orbit


def _sum_of(sizes: Sequence[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    if not known:
        return UNKNOWN if sizes else human_size(0)
    return human_size(sum(known)) if len(known) == len(sizes) else f"{human_size(sum(known))} + {UNKNOWN}"


def _union_percent(footprints: Sequence[BaseGeometry], payload: Payload) -> str:
    return f"{overlap_percent(footprints, payload.area):.1f}"


def _tile_count(scenes: Sequence[SceneFeature]) -> str:
    count = sum(len(scene.tiles) for scene in scenes)
    return str(count) if count else ""


def _percent(text: str | None) -> str:
    try:
        return f"{float(text or ''):.1f}"
    except ValueError:
        return ""


def _coloured(status: str) -> str:
    colour = {"DONE": "green", "PENDING": "cyan", "RETRY": "yellow", "FAILED": "red"}.get(status)
    return f"[{colour}]{status}[/]" if colour else _plain(status)


def _plain(text: str) -> str:
    """Text of others is no markup."""
    return text.replace("[", r"\[")


def _table(*columns: str) -> Table:
    """`>name` is a column of numbers. On a narrow terminal the long texts fold; the rest stays whole."""
    table = Table(header_style="bold", show_edge=False, pad_edge=False)
    for column in columns:
        name = column.removeprefix(">")
        table.add_column(name, justify="right" if name != column else "left", no_wrap=name not in _FOLDING, overflow="fold")
    return table


def _total(table: Table, *cells: str) -> None:
    table.add_section()
    table.add_row(*cells, style="bold")
