"""Which processing of an acquisition is kept, whatever the order in which they are listed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from catalogue.duplicates import without_duplicates
from common.features import SceneData, SceneFeature, SceneMetadata

GRD = "S1A_IW_GRDH_1SDV_20220428T034417_20220428T034442_042968_05213C_"
WEST, EAST = box(0, 0, 0.6, 1).wkt, box(0.5, 0, 1, 1).wkt
WHOLE, NEARLY_WHOLE = box(0, 0, 1, 1).wkt, box(0, 0, 1, 0.999).wkt


def scene(source_id: str, *, published: str = "", processed: str = "", wkt: str = WHOLE) -> SceneFeature:
    metadata = SceneMetadata.model_validate({"processed": processed} if processed else {})
    data = SceneData(date=datetime(2022, 4, 28, tzinfo=UTC), metadata=metadata)
    return SceneFeature(source_id=source_id, data=data, tags={"ingestionDate": published} if published else {}, wkt=wkt)


def s2(baseline: str, discriminator: str, *, level: str = "L2A", tile: str = "T31UFT", start: str = "20220428T103619") -> str:
    return f"S2A_MSI{level}_{start}_N{baseline}_R008_{tile}_{discriminator}"


def landsat(processed: str, tier: str, *, level: str = "L2SP", satellite: str = "08") -> str:
    return f"LC{satellite}_{level}_198024_20220428_{processed}_02_{tier}"


def kept(*scenes: SceneFeature) -> set[str]:
    forth, back = without_duplicates(scenes), without_duplicates(reversed(scenes))
    assert forth == back
    return {found.source_id for found in forth}


def test_sentinel1_keeps_the_newest_by_publication() -> None:
    older, newer = scene(GRD + "FFFF", published="2022-04-28T05:00:00Z"), scene(GRD + "0000", published="2022-05-01T05:00:00Z")
    assert kept(older, newer) == {GRD + "0000"}


def test_sentinel1_keeps_the_newest_by_processing_where_publication_ties() -> None:
    """Catalogues that give the acquisition as ingestion date."""
    same = "2022-04-28T03:44:17Z"
    older = scene(GRD + "FFFF", published=same, processed="2022-04-28T04:00:00Z")
    newer = scene(GRD + "0000", published=same, processed="2022-06-01T00:00:00+02:00")
    assert kept(older, newer) == {GRD + "0000"}


def test_sentinel1_neighbours_in_time_are_no_duplicates() -> None:
    names = {GRD + "28ED", GRD.replace("T034417", "T034442") + "28ED", GRD.replace("S1A", "S1C") + "28ED"}
    assert kept(*map(scene, names)) == names


def test_sentinel2_keeps_the_highest_baseline_not_the_latest_processing() -> None:
    names = [s2("0500", "20230601T000000"), s2("0400", "20240601T000000"), s2("0301", "20220428T150000")]
    assert kept(*map(scene, names)) == {names[0]}


def test_sentinel2_keeps_both_datastrips_of_the_highest_baseline() -> None:
    west, east = scene(s2("0510", "20220428T140000"), wkt=WEST), scene(s2("0510", "20220428T141500"), wkt=EAST)
    old = scene(s2("0400", "20220428T120000"), wkt=WHOLE)
    assert kept(west, east, old) == {west.source_id, east.source_id}


def test_sentinel2_keeps_the_newest_of_coinciding_footprints() -> None:
    older = scene(s2("0510", "20220428T140000"), processed="2022-04-28T14:00:00Z", wkt=WHOLE)
    newer = scene(s2("0510", "20220430T140000"), processed="2022-04-30T14:00:00Z", wkt=NEARLY_WHOLE)
    assert kept(older, newer) == {newer.source_id}


@pytest.mark.parametrize("other", [{"level": "L1C"}, {"tile": "T31UGT"}, {"start": "20220428T103629"}])
def test_sentinel2_of_another_level_tile_or_datatake_stays(other: dict[str, str]) -> None:
    names = {s2("0510", "20220428T140000"), s2("0400", "20220428T120000", **other)}
    assert kept(*map(scene, names)) == names


def test_landsat_keeps_the_best_tier_then_the_latest_processing() -> None:
    names = [landsat("20220501", "T1"), landsat("20220509", "T1"), landsat("20220601", "T2"), landsat("20220701", "RT")]
    assert kept(*map(scene, names)) == {landsat("20220509", "T1")}
    assert kept(*map(scene, names[2:])) == {landsat("20220601", "T2")}


def test_landsat_of_another_level_or_satellite_stays() -> None:
    names = {landsat("20220501", "T1"), landsat("20220501", "T1", level="L1TP"), landsat("20220501", "T1", satellite="09")}
    assert kept(*map(scene, names)) == names


def test_other_names_are_duplicates_only_of_themselves() -> None:
    assert kept(scene("a_1"), scene("a_2"), scene("a_1", published="2022-05-01")) == {"a_1", "a_2"}


_times = st.sampled_from(["", "2022-04-28T03:44:17Z", "2022-05-01", "2022-06-01T00:00:00.5Z", "not a time"])
_names = st.one_of(
    st.sampled_from(["28ED", "FFFF", "0000"]).map(lambda unique: GRD + unique),
    st.builds(s2, st.sampled_from(["0301", "0400", "0510"]), st.sampled_from(["20220428T140000", "20220428T141500"])),
    st.builds(landsat, st.sampled_from(["20220501", "20220509"]), st.sampled_from(["RT", "T1", "T2", "A1"])),
    st.sampled_from(["a", "b"]),
)
_scenes = st.lists(
    st.builds(
        lambda name, published, processed, wkt: scene(name, published=published, processed=processed, wkt=wkt),
        _names,
        _times,
        _times,
        st.sampled_from([WHOLE, NEARLY_WHOLE, WEST, EAST]),
    ),
    max_size=12,
)


@given(_scenes, st.randoms(use_true_random=False))
def test_the_order_of_the_answer_does_not_matter(scenes: list[SceneFeature], random: object) -> None:
    shuffled = list(scenes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert without_duplicates(shuffled) == without_duplicates(scenes)


@given(_scenes)
def test_nothing_is_invented_nor_listed_twice_and_a_second_time_changes_nothing(scenes: list[SceneFeature]) -> None:
    found = without_duplicates(scenes)
    names = [one.source_id for one in found]
    assert all(one in scenes for one in found)
    assert len(names) == len(set(names))
    assert bool(found) == bool(scenes)
    assert without_duplicates(found) == found
