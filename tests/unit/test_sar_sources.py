"""Which DEM and which orbit a step takes, of those the configuration names."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from unit.test_sar_grd_geometry import NEW, annotation

from common.errors import ConfigurationError, FatalError
from common.radar_settings import DemSettings, OrbitSettings, RadarSources, write_sources
from processor.sar.orbit_files import read_orbit_file
from processor.sar.sources import image_orbit, open_dem, orbit_of, read_sources


def raster(folder: Path, crs: str = "EPSG:4326") -> str:
    path = folder / f"{crs.replace(':', '')}.tif"
    transform = from_origin(10, 46, 0.1, 0.1)
    with rasterio.open(path, "w", driver="GTiff", width=10, height=10, count=1, dtype="int16", crs=crs, transform=transform) as opened:
        opened.write(np.full((10, 10), 100, np.int16), 1)
    return str(path)


def test_what_is_configured_reaches_the_step(tmp_path: Path) -> None:
    assert write_sources({}, OrbitSettings(), tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
    assert read_sources("") == RadarSources()
    sources = RadarSources(dems={"one": DemSettings(path="dem.tif", geoid="egm96")}, orbits=OrbitSettings(folder="orbits"))
    assert read_sources(write_sources(sources.dems, sources.orbits, tmp_path)) == sources
    with pytest.raises(ConfigurationError, match="does not tell"):
        read_sources(str(tmp_path / "other.json"))


def test_a_dem_by_its_name(tmp_path: Path) -> None:
    path = raster(tmp_path)
    one, two = DemSettings(path=path, geoid="egm96"), DemSettings(path=path, geoid="egm2008")
    assert open_dem(RadarSources(dems={"some": one})).geoid.name == "egm96", "there is but one"
    both = RadarSources(dems={"some": one, "default": two})
    assert open_dem(both).geoid.name == "egm2008"
    assert open_dem(both, "some").geoid.name == "egm96"
    with pytest.raises(FatalError, match="dem: '' is none of the DEMs of the configuration: other, some"):
        open_dem(RadarSources(dems={"some": one, "other": two}))
    with pytest.raises(FatalError, match=r"dem: '/etc/passwd' is none of the DEMs"):
        open_dem(both, "/etc/passwd")
    with pytest.raises(ConfigurationError, match="there is no DEM"):
        open_dem(RadarSources())


def test_no_heights_above_what_is_not_known(tmp_path: Path) -> None:
    silent, told = raster(tmp_path), raster(tmp_path, "EPSG:4326+5773")
    with pytest.raises(ConfigurationError, match=r"dems\.default\.geoid is not set, and EPSG4326\.tif does not say"):
        open_dem(RadarSources(dems={"default": DemSettings(path=silent)}))
    with pytest.raises(ConfigurationError, match=r"is not set, and \{LAT\}\.tif does not say"):
        open_dem(RadarSources(dems={"default": DemSettings(path=str(tmp_path / "{LAT}.tif"))}))
    assert open_dem(RadarSources(dems={"default": DemSettings(path=told)})).geoid.name == "egm96"
    with pytest.raises(ConfigurationError, match="says that its heights are above 'egm96'"):
        open_dem(RadarSources(dems={"default": DemSettings(path=told, geoid="egm2008")}))


def test_the_orbit_of_the_annotation_unless_there_is_a_better_one(shared_data: Path) -> None:
    image = annotation(shared_data / "s1_grd" / NEW)
    folder = OrbitSettings(folder=str(shared_data / "s1_orbits"))
    assert image_orbit(image, RadarSources()).source == "annotation"
    assert image_orbit(image, RadarSources(orbits=folder)).source == "annotation", "none of them is of this date"
    with pytest.raises(FatalError, match=r"no orbit file for S1B at 2021-12-23T05:11:22 \(orbits\.required\)"):
        image_orbit(image, RadarSources(orbits=OrbitSettings(required=True)))
    path = next((shared_data / "s1_orbits").glob("*POEORB*"))
    start = replace(image.grid).first_line_time.replace(year=2023, month=10, day=13)
    other = replace(image, mission="S1A")
    assert orbit_of(other, RadarSources(orbits=folder), start, start + timedelta(seconds=27)).source in path.name
    given = orbit_of(other, RadarSources(), start, start + timedelta(seconds=27), path)
    assert given.source == read_orbit_file(path, "S1A", start, start).source
