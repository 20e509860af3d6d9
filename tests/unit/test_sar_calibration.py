"""Calibration and noise tables of real products, old and new, against what is written in them and against the geometry."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.errors import FatalError
from processor.sar.annotation import parse_annotation
from processor.sar.calibration import Quantity, parse_calibration
from processor.sar.noise import parse_noise

NEW = "S1B_IW_GRDH_1SDV_20211223T051122_20211223T051147_030148_039993_5371.SAFE.zip"
OLD = "S1A_IW_GRDH_1SDV_20150203T043109_20150203T043134_004454_00574F_6D00.zip"
OLDEST = "S1A_IW_GRDH_1SDV_20150203T043109_20150203T043134_004454_00574F_FEC3.zip"
SLC = "S1A_IW_SLC__1SDV_20250406T022008_20250406T022035_058630_07421F_93A7.SAFE.zip"


def member(archive: Path, pattern: str) -> tuple[bytes, str]:
    with zipfile.ZipFile(archive) as opened:
        name = next(name for name in opened.namelist() if re.search(pattern, name))
        return opened.read(name), name


@pytest.mark.parametrize("product", [NEW, OLD], ids=["ipf-3.40", "ipf-2.70"])
def test_the_three_quantities_differ_by_the_incidence_angle(shared_data: Path, product: str) -> None:
    archive = shared_data / "s1_grd" / product
    annotation = parse_annotation(*member(archive, r"annotation/s1[^/]*-vv-[^/]*xml"))
    samples = annotation.grid.samples
    calibration = parse_calibration(*member(archive, r"calibration-[^/]*-vv-"), samples)
    sigma, beta, gamma = (calibration.table(quantity) for quantity in Quantity)
    assert calibration.polarisation == "VV"
    assert sigma.values.shape == (27, samples)
    grid = annotation.geolocation
    angle = np.radians(grid.incidence_angle)
    pixel = np.minimum(grid.pixel, samples - 1)
    a_sigma, a_beta, a_gamma = (
        np.array([table.at(np.array([line]), np.array([column]))[0, 0] for line, column in zip(grid.line, pixel, strict=True)])
        for table in (sigma, beta, gamma)
    )
    # sigma0 = beta0 sin(angle), gamma0 = sigma0 / cos(angle); the tables of the processor are made for heights of its own.
    np.testing.assert_allclose((a_beta / a_sigma) ** 2, np.sin(angle), rtol=0.012)
    np.testing.assert_allclose((a_gamma / a_sigma) ** 2, np.cos(angle), rtol=0.012)


def test_values_are_those_written_and_linear_between(shared_data: Path) -> None:
    content, name = member(shared_data / "s1_grd" / NEW, r"calibration-[^/]*-vv-")
    table = parse_calibration(content, name, 26102).table(Quantity.SIGMA0)
    text = content.decode()
    first, second = (np.array(re.findall(r"<sigmaNought[^>]*>([^<]*)<", text)[index].split(), float) for index in (0, 1))
    pixel = np.array(re.findall(r"<pixel [^>]*>([^<]*)<", text)[0].split(), int)
    assert table.lines[:2].tolist() == [0, 668]
    np.testing.assert_allclose(table.at(np.array([0.0]), pixel)[0], first, rtol=1e-6)
    np.testing.assert_allclose(table.at(np.array([167.0]), pixel)[0], 0.75 * first + 0.25 * second, rtol=1e-6)
    np.testing.assert_allclose(table.at(np.array([-50.0]), pixel)[0], first, rtol=1e-6)
    middle = table.at(np.array([0.0]), (pixel[:-1] + pixel[1:]) // 2)[0]
    np.testing.assert_allclose(middle, (first[:-1] + first[1:]) / 2, rtol=2e-4)


@pytest.mark.parametrize(("product", "blocks"), [(NEW, 3), (OLD, 0)], ids=["ipf-3.40", "ipf-2.70"])
def test_noise_is_as_far_below_as_the_instrument_is_good(shared_data: Path, product: str, blocks: int) -> None:
    """The noise-equivalent sigma0 of the IW mode is specified as -22 dB or better (Sentinel-1 User Handbook)."""
    archive = shared_data / "s1_grd" / product
    samples = parse_annotation(*member(archive, r"annotation/s1[^/]*-vv-[^/]*xml")).grid.samples
    noise = parse_noise(*member(archive, r"noise-[^/]*-vv-"), samples)
    sigma = parse_calibration(*member(archive, r"calibration-[^/]*-vv-"), samples).table(Quantity.SIGMA0)
    assert len(noise.blocks) == blocks
    lines, inside = np.arange(0, 16000, 1000.0), slice(200, samples - 400)
    equivalent = 10 * np.log10(noise.at(lines, inside) / sigma.at(lines, inside) ** 2)
    assert equivalent.min() > -31.5
    assert equivalent.max() < -21.5


def test_azimuth_vectors_hold_in_their_sub_swath(shared_data: Path) -> None:
    noise = parse_noise(*member(shared_data / "s1_grd" / NEW, r"noise-[^/]*-vv-"), 26102)
    first, second, _ = noise.blocks
    assert (first.swath, first.last_sample + 1) == ("IW1", second.first_sample)
    line = np.array([second.lines[7]])
    around = slice(second.first_sample - 1, second.first_sample + 2)
    expected = noise.range_.at(line, around)[0] * [first.at(line)[0], second.factors[7], second.factors[7]]
    np.testing.assert_allclose(noise.at(line, around)[0], expected, rtol=1e-6)
    assert np.all(noise.factors(np.array([-5.0, 20000.0]), slice(0, 10)) == 1)


def test_bursts_of_slc(shared_data: Path) -> None:
    archive = shared_data / "s1_slc" / "pair_T108_20250406_20250418" / SLC
    noise = parse_noise(*member(archive, r"noise-s1a-iw2-slc-vv"), 24000)
    sigma = parse_calibration(*member(archive, r"calibration-s1a-iw2-slc-vv"), 24000).table(Quantity.SIGMA0)
    lines = np.arange(0, 13000, 97.0)
    inside = slice(2000, 20000)
    equivalent = 10 * np.log10(noise.at(lines, inside) / sigma.at(lines, inside) ** 2)
    assert equivalent.min() > -31.5
    assert equivalent.max() < -20
    assert sigma.lines[0] < 0, "the first vector lies before the image"


def test_the_oldest_products_say_there_is_no_noise(shared_data: Path) -> None:
    noise = parse_noise(*member(shared_data / "s1_grd" / OLDEST, r"noise-[^/]*-vv-"), 25562)
    assert not noise.range_.values.any()


def test_what_is_broken_is_named(shared_data: Path) -> None:
    content, name = member(shared_data / "s1_grd" / NEW, r"noise-[^/]*-vv-")
    with pytest.raises(FatalError, match="has no noise vectors"):
        parse_noise(re.sub(rb"noiseRangeVectorList", b"nothing", content), name, 26102)
    with pytest.raises(FatalError, match=r"noiseRangeLut of line 0 has \d+ values for \d+ samples"):
        parse_noise(content.replace(b">0 40 80 ", b">0 40 ", 1), name, 26102)
    with pytest.raises(FatalError, match="has no calibration vectors"):
        parse_calibration(content, name, 26102)
