"""The geometry of GRD images against the geolocation grids of real annotations."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.errors import FatalError
from processor.sar import ellipsoid
from processor.sar.annotation import Annotation, parse_annotation
from processor.sar.grd_geometry import grd_geometry

NEW = "S1B_IW_GRDH_1SDV_20211223T051122_20211223T051147_030148_039993_5371.SAFE.zip"
OLD = "S1A_IW_GRDH_1SDV_20150203T043109_20150203T043134_004454_00574F_6D00.zip"
OLDER = "S1A_IW_GRDH_1SDV_20150203T043109_20150203T043134_004454_00574F_FEC3.zip"
"""The same scene, processed earlier with other state vectors."""
SLC = "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7.SAFE.zip"


def annotation(archive: Path, pattern: str = r"annotation/s1[^/]*-vv-[^/]*xml") -> Annotation:
    with zipfile.ZipFile(archive) as opened:
        name = next(name for name in opened.namelist() if re.search(pattern, name))
        return parse_annotation(opened.read(name), name)


@pytest.mark.parametrize(("product", "lines", "samples"), [(NEW, 0.002, 0.01), (OLD, 0.06, 0.01)], ids=["ipf-3.40", "ipf-2.70"])
def test_every_point_of_the_geolocation_grid(shared_data: Path, product: str, lines: float, samples: float) -> None:
    """The grid of 2015 lies 0.05 line (0.5 m) off: see the next test."""
    image = annotation(shared_data / "s1_grd" / product)
    points = image.geolocation
    assert points.line.size == 210
    found = grd_geometry(image).image_coordinates(ellipsoid.ecef(points.longitude, points.latitude, points.height))
    assert np.abs(found.line - points.line).max() < lines
    assert np.abs(found.sample - points.pixel).max() < samples


def test_grids_of_2015_are_from_no_orbit_of_their_products(shared_data: Path) -> None:
    """The state vectors of both differ by 2.8 m; their grids do not: they lie where neither says, off by the same from the better ones."""
    older, better = annotation(shared_data / "s1_grd" / OLDER), annotation(shared_data / "s1_grd" / OLD).orbit
    points = older.geolocation
    earth = ellipsoid.ecef(points.longitude, points.latitude, points.height)
    own = grd_geometry(older).image_coordinates(earth).line - points.line
    assert 0.28 < own.min() < own.max() < 0.32
    off = grd_geometry(older, better).image_coordinates(earth).line - points.line
    assert 0.04 < off.min() < off.max() < 0.06


def test_from_the_image_to_the_ground_and_back(shared_data: Path) -> None:
    geometry = grd_geometry(annotation(shared_data / "s1_grd" / NEW))
    lines, samples = np.meshgrid(np.linspace(0, 16704, 30), np.linspace(0, 26101, 40))
    for height in (0.0, 3000.0):
        found = geometry.image_coordinates(geometry.ground_points(lines, samples, height))
        assert np.abs(found.line - lines).max() < 1e-4
        # The two polynomials of a record are fitted apart.
        assert np.abs(found.sample - samples).max() < 0.05


def test_far_away_is_not_in_the_image(shared_data: Path) -> None:
    geometry = grd_geometry(annotation(shared_data / "s1_grd" / NEW))
    away = geometry.image_coordinates(ellipsoid.ecef(np.array([30.0]), np.array([41.0])))
    assert np.isnan(away.sample).all()


def test_an_slc_is_none(shared_data: Path) -> None:
    image = annotation(shared_data / "s1_slc" / "pair_T108_20250406_20250418" / SLC)
    with pytest.raises(FatalError, match="not one of a GRD"):
        grd_geometry(image)
