"""Bursts from annotations: the answers of the reference, ESA's ids, and annotations that are not as they should be."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from sentinel1_data import PAIR, ROME, SERIES, annotation, annotations

from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile
from catalogue.sentinel1.burst_ids import BEAM_S, CYCLE_S, MOST, ORBIT_S, burst_id, place_of, relative_orbit
from catalogue.sentinel1.bursts import anx_time_ds, read_bursts

SCENE = PAIR[0]
GOLDEN = {"bursts_T108.json": PAIR, "bursts_T117_four_dates.json": SERIES}
SWATHS = ("IW1", "IW2", "IW3")


def _golden(data: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((data / "golden" / name).read_text())
    return rows


def _three(**more: Any) -> list[AnnotationFile]:
    return [annotation(swath, times=(836.1 + step, 838.9 + step), **more) for step, swath in enumerate(SWATHS)]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(shared_data: Path, name: str) -> None:
    """Every burst as the reference lists it, and no other."""
    theirs = {(row["scene"], row["tile"]): row for row in _golden(shared_data, name)}
    ours = {(scene, burst.tile_id): burst for scene in GOLDEN[name] for burst in read_bursts(scene, annotations(shared_data, scene))}
    assert ours.keys() == theirs.keys()
    for key, burst in ours.items():
        row = theirs[key]
        assert (burst.swath, burst.number, burst.anx_time_ds) == (row["swath"], row["nr"], row["anx"])
        assert burst.wkt == row["wkt"]
        mine, other = (shapely.get_coordinates(shapely.from_wkt(text)) for text in (burst.wkt, row["wkt"]))
        assert abs(mine - other).max() <= 1e-6


def test_pair_has_the_same_places(shared_data: Path) -> None:
    first, second = (read_bursts(scene, annotations(shared_data, scene)) for scene in PAIR)
    assert Counter(burst.swath for burst in first) == {"IW1": 9, "IW2": 9, "IW3": 9}
    assert [(burst.burst_id, burst.swath) for burst in first] == [(burst.burst_id, burst.swath) for burst in second]
    assert [burst.burst_id for burst in first if burst.swath == "IW1"] == list(range(230132, 230141))


@pytest.mark.parametrize("scene", [*PAIR, *SERIES[2:], ROME])
def test_computed_ids_equal_the_written_ones(shared_data: Path, scene: str) -> None:
    """Every annotation with ids, once as it is and once without them."""
    files = annotations(shared_data, scene)
    if scene == ROME:  # a subset: IW1 alone; the others are its copies under their names
        files = [_renamed(files[0], swath) for swath in SWATHS]
    bare = [
        AnnotationFile(file.name, file.content.replace(b"<burstId ", b"<otherId ").replace(b"</burstId>", b"</otherId>")) for file in files
    ]
    written, computed = read_bursts(scene, files), read_bursts(scene, bare)
    if scene == ROME:
        written, computed = (([burst for burst in bursts if burst.swath == "IW1"]) for bursts in (written, computed))
        assert [burst.burst_id for burst in written] == list(range(249402, 249411))
    assert b"<burstId" in files[0].content
    assert b"<burstId" not in bare[0].content
    assert computed == written


def _renamed(file: AnnotationFile, swath: str) -> AnnotationFile:
    content = file.content.replace(b"<swath>IW1</swath>", f"<swath>{swath}</swath>".encode())
    return AnnotationFile(file.name.replace("-iw1-", f"-{swath.lower()}-"), content)


def test_four_dates_share_places(shared_data: Path) -> None:
    """Shifted frames, three processors, two satellites: each date has its bursts at places of the others."""
    places = [
        {
            place_of(burst.burst_id, burst.swath)
            for burst in read_bursts(scene, annotations(shared_data, scene))
            if burst.burst_id is not None
        }
        for scene in SERIES
    ]
    assert [len(each) for each in places] == [28, 27, 28, 27]
    for earlier, later in pairwise(places):
        assert earlier & later
    assert "117_249402_IW1" in places[1] & places[3]


def test_one_polarisation_is_enough(shared_data: Path) -> None:
    files = annotations(shared_data, SCENE)
    assert len(files) == 6
    both = read_bursts(SCENE, files)
    assert read_bursts(SCENE, [file for file in files if "-vv-" in file.name]) == both
    assert read_bursts(SCENE, [file for file in files if "-vh-" in file.name]) == both


def test_catalogue_decides_on_orbit_and_direction() -> None:
    [burst, *_] = read_bursts(SCENE, _three(), direction="DESCENDING", relative_orbit_number=7)
    assert burst.tile_id == "D7_IW1_8361"
    [burst, *_] = read_bursts(SCENE, _three())
    assert burst.tile_id == "A108_IW1_8361"


@pytest.mark.parametrize("shifts", [(0, 0, -1), (0, -1, -1), (0, 1, 0)])
def test_grid_lines_off_by_one(shifts: tuple[int, ...]) -> None:
    assert read_bursts(SCENE, _three(line_shift=shifts)) == read_bursts(SCENE, _three())


def test_bursts_of_swaths_with_equal_times_are_all_kept() -> None:
    """The reference drops all but one of them."""
    bursts = read_bursts(SCENE, [annotation(swath, times=(836.1, 838.9)) for swath in SWATHS])
    assert [burst.tile_id for burst in bursts] == [f"A108_{swath}_{anx}" for swath in SWATHS for anx in (8361, 8389)]


def test_footprint_across_the_antimeridian() -> None:
    [burst, *_] = read_bursts(SCENE, _three(origin=(179.5, 50.0)))
    assert burst.wkt.startswith("MULTIPOLYGON(((")
    footprint = shapely.from_wkt(burst.wkt)
    assert footprint.is_valid
    assert footprint.area == pytest.approx(0.2, abs=1e-6)
    assert sorted(part.bounds[0] for part in footprint.geoms) == [-180, 179.5]


@pytest.mark.parametrize(
    ("mission", "absolute", "relative"),
    [
        ("S1A", 58630, 108),
        ("S1B", 30068, 117),
        ("S1C", 1681, 110),
        ("S1C", 8018, 147),
        ("S1C", 8019, 46),
        ("S1D", 2389, 73),
        ("S1E", 1, None),
    ],
)
def test_relative_orbits(mission: str, absolute: int, relative: int | None) -> None:
    assert relative_orbit(mission, absolute) == relative


@given(st.sampled_from(SWATHS), st.integers(1, 175), st.floats(0, ORBIT_S + 60))
def test_a_place_is_the_same_from_either_side_of_the_node(swath: str, orbit: int, time: float) -> None:
    """A burst after the node counts on from the orbit before, or anew in the next one."""
    number = burst_id(swath, orbit, time)
    assume(number == burst_id(swath, orbit, time - 1e-6) == burst_id(swath, orbit, time + 1e-6))  # not where rounding decides
    assert number is not None
    assert 1 <= number <= MOST
    assert burst_id(swath, orbit % 175 + 1, time - ORBIT_S) == number


def test_a_track_over_the_equator_keeps_its_places() -> None:
    """Times run on past the node at 5924.57 s, in the scene's own orbit; a scene that begins behind it counts anew."""
    over = read_bursts(
        SCENE, [annotation(swath, times=[5918.0 + step + BEAM_S * n for n in range(6)]) for step, swath in enumerate(SWATHS)]
    )
    anew = read_bursts(
        SCENE,
        [
            annotation(swath, orbit=58631, times=[5918.0 + step + BEAM_S * n - ORBIT_S for n in range(3, 6)])
            for step, swath in enumerate(SWATHS)
        ],
    )
    assert {burst.relative_orbit for burst in over} == {108}
    assert {burst.relative_orbit for burst in anew} == {109}
    ids = {swath: [burst.burst_id for burst in over if burst.swath == swath] for swath in SWATHS}
    for swath in SWATHS:
        assert ids[swath] == list(range(ids[swath][0], ids[swath][0] + 6))
        assert [burst.burst_id for burst in anew if burst.swath == swath] == ids[swath][3:]
    keys = {place_of(burst.burst_id, burst.swath) for burst in anew if burst.burst_id}
    assert keys < {place_of(burst.burst_id, burst.swath) for burst in over if burst.burst_id}
    assert over[5].anx_time_ds == anx_time_ds(5918.0 + 5 * BEAM_S) == 78, "the reference's modulus is 5924 s"


def test_ids_begin_again_after_a_cycle() -> None:
    last, first = burst_id("IW2", 175, ORBIT_S - 1), burst_id("IW2", 175, ORBIT_S + 3)
    assert last == burst_id("IW2", 1, -1.0)
    assert first == burst_id("IW2", 1, 3.0) == 1
    assert last is not None
    assert last in (MOST, MOST - 1, 1)
    assert place_of(1, "IW2") == "1_1_IW2"
    assert CYCLE_S / BEAM_S < MOST


@pytest.mark.parametrize(
    ("time", "tenths"),
    [(836.1233655546, 8361), (0.05, 1), (0.04999, 0), (5924.0, 0), (5923.97, 59240), (-0.05, -1), (677.9659202441406, 6780)],
)
def test_tenths_as_the_reference_rounds_them(time: float, tenths: int) -> None:
    assert anx_time_ds(time) == tenths


def _with(old: bytes, new: bytes, files: list[AnnotationFile] | None = None) -> list[AnnotationFile]:
    """Three annotations, in the first of which `old` is replaced."""
    first, *others = files or _three()
    assert old in first.content
    return [replace(first, content=first.content.replace(old, new)), *others]


BOMB = b'<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><product>&b;'

BROKEN: dict[str, tuple[list[AnnotationFile], str]] = {
    "cut short": ([replace(_three()[0], content=_three()[0].content[:900]), *_three()[1:]], "is cut short"),
    "bomb": (_with(b"<product>", BOMB), "declares a document type"),
    "bomb in the other polarisation": (
        [*_three(), replace(_three(polarisation="vh")[0], content=_with(b"<product>", BOMB)[0].content)],
        "declares a document type",
    ),
    "no bursts": ([annotation("IW1", times=()), *_three()[1:]], "lists no bursts"),
    "entity without declaration": (_with(b"<linesPerBurst>100", b"<linesPerBurst>&b;"), "is not well formed: <swathTiming>"),
    "swath missing": (_three()[::2], "the annotation of IW2 is missing"),
    "nothing": ([], "there is no annotation of it"),
    "other product by name": ([annotation("IW1", product="GRD")], "is of a GRD product"),
    "other product within": (_with(b"<productType>SLC", b"<productType>GRD"), "is of a GRD product"),
    "other swath within": (_with(b"<swath>IW1", b"<swath>IW3"), "is of IW3, its name says IW1"),
    "stripmap": ([annotation("S3")], "S3 is a mode without bursts"),
    "no timing": (_with(b"swathTiming", b"swathTimin"), "has no <swathTiming>"),
    "no number": (_with(b"<samplesPerBurst>50", b"<samplesPerBurst>many"), "has 'many' as samplesPerBurst"),
    "infinite": (_with(b"<latitude>50.0", b"<latitude>inf"), "has 'inf' as latitude"),
    "off the globe": (_with(b"<latitude>50.0", b"<latitude>95"), "has a grid point at"),
    "no line": (_with(b"<line>100<", b"<line>110<"), "has no grid points at line 100"),
    "no direction": (_with(b"<pass>", b"<pas>"), "ascending or descending"),
    "unknown satellite": (_with(b"<missionId>S1A", b"<missionId>S1Z"), "whose relative orbits are not known"),
    "polarisations differ in number": ([*_three(), annotation("IW1", times=(836.1,), polarisation="vh")], "lists 1 bursts"),
    "polarisations differ in time": (
        [*_three(), annotation("IW1", times=(836.1, 841.0), polarisation="vh")],
        "has its burst 2 at another time",
    ),
    "same burst twice": ([annotation("IW1", times=(836.1, 836.1)), *_three()[1:]], "burst A108_IW1_8361 is listed 2 times"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_annotations(case: str) -> None:
    files, message = BROKEN[case]
    with pytest.raises(AnnotationError) as caught:
        read_bursts(SCENE, files)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{SCENE}: ")


@given(st.data())
def test_any_damage_is_an_annotation_error(data: st.DataObject) -> None:
    """Bytes changed, removed or added anywhere: bursts or a clear error, never anything else."""
    first, *others = _three()
    content = bytearray(first.content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=8))
    with contextlib.suppress(AnnotationError):
        bursts = read_bursts(SCENE, [replace(first, content=bytes(content)), *others])
        assert all(shapely.from_wkt(burst.wkt).area >= 0 for burst in bursts)


def test_wrong_id_is_computed() -> None:
    """A burstId that no burst can have counts as none."""
    right = read_bursts(SCENE, _three())
    assert read_bursts(SCENE, _three(ids=(0, MOST + 1))) == right
    assert [burst.burst_id for burst in read_bursts(SCENE, _three(ids=(5, 6)))][:2] == [5, 6]
