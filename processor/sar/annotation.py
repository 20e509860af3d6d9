"""What the annotation of a Sentinel-1 SLC or GRD image says: timing, orbit, bursts, Doppler, geolocation.

Source of the elements: Sentinel-1 Product Specification (S1-RS-MDA-52-7441), "Product Data Set Record".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from processor.sar.annotation_xml import Section, read_root
from processor.sar.orbit import Orbit
from processor.sar.radar_grid import RadarGrid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RangePolynomial:
    """An estimate, at one azimuth time, that varies with range: sum of coefficients[i] * (range time - t0)**i."""

    time: datetime
    t0_s: float
    """Two-way range time."""
    coefficients: tuple[float, ...]

    def __call__(self, range_time: Floats) -> Floats:
        return np.asarray(np.polynomial.polynomial.polyval(range_time - self.t0_s, self.coefficients), float)


@dataclass(frozen=True)
class TopsSteering:
    """What the phase of a TOPS burst depends on, besides the orbit."""

    rate_rad_s: float
    """Electronic steering of the antenna in azimuth."""
    doppler_centroids: tuple[RangePolynomial, ...]
    """Hz, in order of time."""
    fm_rates: tuple[RangePolynomial, ...]
    """Azimuth FM rate of a target, Hz/s, in order of time."""


@dataclass(frozen=True, eq=False)
class AnnotatedBurst:
    """One burst, as listed."""

    azimuth_time: datetime
    """Zero-Doppler time of the first line."""
    anx_time_s: float
    byte_offset: int
    burst_id: int | None
    """ESA's, from processor 3.40 on."""
    first_valid_sample: NDArray[np.int32]
    """Of each line; -1 where none is."""
    last_valid_sample: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class GeolocationGrid:
    """Points of the image with their place on the ground; all arrays have shape (n,)."""

    epoch: datetime
    azimuth_time: Floats
    """Seconds after `epoch`."""
    slant_range_time: Floats
    """Seconds, two-way."""
    line: NDArray[np.int64]
    pixel: NDArray[np.int64]
    latitude: Floats
    """Degrees."""
    longitude: Floats
    height: Floats
    """Metres above the ellipsoid."""
    incidence_angle: Floats
    """Degrees, on the ellipsoid."""
    elevation_angle: Floats


@dataclass(frozen=True)
class CoordinateConversion:
    """Between slant and ground range of a GRD image, at one azimuth time; polynomials with ascending powers, metres."""

    time: datetime
    slant_range_time_s: float
    sr0: float
    ground_from_slant: tuple[float, ...]
    gr0: float
    slant_from_ground: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Annotation:
    """The annotation of one image: of one sub-swath and polarisation (SLC), or of one polarisation (GRD)."""

    mission: str
    """`S1A`."""
    product_type: str
    """`SLC`, `GRD`."""
    mode: str
    swath: str
    """`IW1`; for GRD `IW`."""
    polarisation: str
    """`VV`."""
    direction: str
    """`Ascending`, `Descending`."""
    absolute_orbit: int
    processor_version: str
    """Of the IPF; empty where the annotation alone does not say."""
    grid: RadarGrid
    """Of the whole image. Lines of an SLC image with bursts are not evenly spaced in time: use `burst_grid`. Samples of a GRD image
    are in ground range: use its lines and first range only."""
    range_spacing_m: float
    """Of the samples as they are: in slant range (SLC) or ground range (GRD)."""
    azimuth_spacing_m: float
    orbit: Orbit
    steering: TopsSteering
    lines_per_burst: int
    samples_per_burst: int
    bursts: tuple[AnnotatedBurst, ...]
    geolocation: GeolocationGrid
    conversions: tuple[CoordinateConversion, ...]

    def burst_grid(self, number: int) -> RadarGrid:
        """The sampling of the burst at index `number` (from 0)."""
        grid, burst = self.grid, self.bursts[number]
        return RadarGrid(
            burst.azimuth_time,
            grid.line_interval_s,
            grid.first_range_time_s,
            grid.range_sampling_rate_hz,
            self.lines_per_burst,
            self.samples_per_burst,
            grid.radar_frequency_hz,
            grid.bulk_bistatic_s,
        )


def read_annotation(path: Path) -> Annotation:
    """The annotation in a file; raises FatalError naming the file and the element that is missing or wrong."""
    return parse_annotation(path.read_bytes(), path.name)


def parse_annotation(content: bytes, name: str) -> Annotation:
    """As `read_annotation`, of the content of the file `name`."""
    root = Section(read_root(content, name), name)
    header, information = root.part("adsHeader"), root.part("generalAnnotation/productInformation")
    image = root.part("imageAnnotation/imageInformation")
    timing = root.part("swathTiming")
    bursts = tuple(_burst(item) for item in timing.sections("burstList/burst"))
    geolocation = _geolocation(root)
    lines_per_burst = int(timing.number("linesPerBurst")) if bursts else 0
    grid = _grid(image, information)
    bulk = _bulk_bistatic(grid, bursts, lines_per_burst, geolocation) if header.text("productType") == "SLC" else None
    return Annotation(
        mission=header.text("missionId"),
        product_type=header.text("productType"),
        mode=header.text("mode"),
        swath=header.text("swath"),
        polarisation=header.text("polarisation"),
        direction=information.text("pass"),
        absolute_orbit=int(header.number("absoluteOrbitNumber")),
        processor_version=root.optional("imageAnnotation/processingInformation/processorVersion"),
        grid=replace(grid, bulk_bistatic_s=bulk),
        range_spacing_m=image.number("rangePixelSpacing"),
        azimuth_spacing_m=image.number("azimuthPixelSpacing"),
        orbit=_orbit(root),
        steering=_steering(root, information),
        lines_per_burst=lines_per_burst,
        samples_per_burst=int(timing.number("samplesPerBurst")) if bursts else 0,
        bursts=bursts,
        geolocation=geolocation,
        conversions=tuple(_conversion(item) for item in root.sections("coordinateConversion/coordinateConversionList/*")),
    )


def _grid(image: Section, information: Section) -> RadarGrid:
    return RadarGrid(
        first_line_time=image.time("productFirstLineUtcTime"),
        line_interval_s=image.number("azimuthTimeInterval"),
        first_range_time_s=image.number("slantRangeTime"),
        range_sampling_rate_hz=information.number("rangeSamplingRate"),
        lines=int(image.number("numberOfLines")),
        samples=int(image.number("numberOfSamples")),
        radar_frequency_hz=information.number("radarFrequency"),
    )


def _orbit(root: Section) -> Orbit:
    vectors = root.sections("generalAnnotation/orbitList/orbit")

    def triples(element: str) -> Floats:
        return np.array([[vector.number(f"{element}/{axis}") for axis in "xyz"] for vector in vectors]).reshape(-1, 3)

    return Orbit.from_vectors([vector.time("time") for vector in vectors], triples("position"), triples("velocity"), "annotation")


def _steering(root: Section, information: Section) -> TopsSteering:
    def polynomials(path: str, coefficients: str, split: tuple[str, ...] = ()) -> tuple[RangePolynomial, ...]:
        found = []
        for item in root.sections(path):
            # Before processor 2.43 the three coefficients of an FM rate were elements of their own.
            values = item.numbers(coefficients) if item.has(coefficients) else tuple(item.number(each) for each in split)
            found.append(RangePolynomial(item.time("azimuthTime"), item.number("t0"), values))
        return tuple(sorted(found, key=lambda polynomial: polynomial.time))

    return TopsSteering(
        np.radians(information.number("azimuthSteeringRate")).item(),
        polynomials("dopplerCentroid/dcEstimateList/dcEstimate", "dataDcPolynomial"),
        polynomials("generalAnnotation/azimuthFmRateList/azimuthFmRate", "azimuthFmRatePolynomial", ("c0", "c1", "c2")),
    )


def _burst(item: Section) -> AnnotatedBurst:
    written = item.optional("burstId")
    return AnnotatedBurst(
        azimuth_time=item.time("azimuthTime"),
        anx_time_s=item.number("azimuthAnxTime"),
        byte_offset=int(item.number("byteOffset")),
        burst_id=int(written) if written.isdecimal() else None,
        first_valid_sample=np.array(item.numbers("firstValidSample"), np.int32),
        last_valid_sample=np.array(item.numbers("lastValidSample"), np.int32),
    )


def _geolocation(root: Section) -> GeolocationGrid:
    points = root.sections("geolocationGrid/geolocationGridPointList/geolocationGridPoint")
    times = [point.time("azimuthTime") for point in points]
    epoch = min(times, default=datetime.fromtimestamp(0, UTC))

    def values(element: str) -> Floats:
        return np.array([point.number(element) for point in points])

    return GeolocationGrid(
        epoch=epoch,
        azimuth_time=np.array([(time - epoch).total_seconds() for time in times]),
        slant_range_time=values("slantRangeTime"),
        line=values("line").astype(np.int64),
        pixel=values("pixel").astype(np.int64),
        latitude=values("latitude"),
        longitude=values("longitude"),
        height=values("height"),
        incidence_angle=values("incidenceAngle"),
        elevation_angle=values("elevationAngle"),
    )


def _conversion(item: Section) -> CoordinateConversion:
    return CoordinateConversion(
        item.time("azimuthTime"),
        item.number("slantRangeTime"),
        item.number("sr0"),
        item.numbers("srgrCoefficients"),
        item.number("gr0"),
        item.numbers("grsrCoefficients"),
    )


def _bulk_bistatic(grid: RadarGrid, bursts: tuple[AnnotatedBurst, ...], lines: int, points: GeolocationGrid) -> float | None:
    """The range time that the azimuth times were corrected with, as the times of the geolocation grid show it: the median over its points.

    See `processor.sar.radar_grid`. None where there are no points to see it by.
    """
    if not points.line.size or not bursts:
        return None
    starts = np.array([(burst.azimuth_time - points.epoch).total_seconds() for burst in bursts])
    burst = np.minimum(points.line // lines, len(bursts) - 1)
    line_time = starts[burst] + (points.line - burst * lines) * grid.line_interval_s
    return float(np.median(points.slant_range_time - 2 * (points.azimuth_time - line_time)))
