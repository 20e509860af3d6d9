"""The annotation, calibration and noise documents of a simulated sub-swath, modelled on those of real products.

Source: Sentinel-1 Product Specification (S1-RS-MDA-52-7441). Only what processing reads is in them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.etree import ElementTree

import numpy as np

from thresher.demo.sentinel1.orbit import LIGHT_M_S, Floats, geodetic, see, up
from thresher.demo.sentinel1.swath import Swath

SIMULATED = "SIMULATED for demonstration: no satellite took this."
PROCESSOR = "003.91"

_GRID_COLUMNS = 21
_VECTOR_STEP = 40
"""Pixels between the values of a calibration vector, as in real products."""

Content = str | float | int | datetime | Sequence[ElementTree.Element]


@dataclass(frozen=True)
class ImageFacts:
    """What the header of each document says of the image."""

    mission: str
    polarisation: str
    absolute_orbit: int
    data_take: int
    image_number: int
    node_time: datetime
    """Of the last ascending node."""


def annotation_document(swath: Swath, facts: ImageFacts) -> bytes:
    """The annotation of an SLC image."""
    root = _element(
        "product",
        [
            _header(swath, facts),
            _general(swath),
            _image(swath, facts),
            _element("dopplerCentroid", [_listed("dcEstimateList", [_doppler(swath, index) for index in range(len(swath.dopplers))])]),
            _element("antennaPattern", [_listed("antennaPatternList", [])]),
            _timing(swath),
            _element("geolocationGrid", [_listed("geolocationGridPointList", list(_grid(swath)))]),
            _element("coordinateConversion", [_listed("coordinateConversionList", [])]),
            _element("swathMerging", [_listed("swathMergeList", [])]),
        ],
    )
    return _document(root)


def calibration_document(swath: Swath, facts: ImageFacts) -> bytes:
    """The calibration of an SLC image: level for beta nought, and for sigma and gamma nought by the incidence angle."""
    pixels = _vector_pixels(swath)
    vectors = []
    for line in range(0, len(swath.bursts) * swath.lines + swath.lines // 2, swath.lines // 2):
        burst = swath.bursts[min(line // swath.lines, len(swath.bursts) - 1)]
        time = burst.time + line % swath.lines * swath.line_s
        incidence = _incidence(swath, swath.time(burst, np.full(len(pixels), line % swath.lines, dtype=float), pixels), pixels)
        beta = np.full(len(pixels), swath.beta_nought)
        vectors.append(
            _element(
                "calibrationVector",
                [
                    _element("azimuthTime", _moment(swath, time)),
                    _element("line", line),
                    _numbers("pixel", pixels, "{:.0f}"),
                    _numbers("sigmaNought", beta / np.sqrt(np.sin(incidence)), "{:.6e}"),
                    _numbers("betaNought", beta, "{:.6e}"),
                    _numbers("gamma", beta / np.sqrt(np.tan(incidence)), "{:.6e}"),
                    _numbers("dn", beta, "{:.6e}"),
                ],
            )
        )
    information = _element("calibrationInformation", [_element("absoluteCalibrationConstant", "1.000000e+00")])
    return _document(_element("calibration", [_header(swath, facts), information, _listed("calibrationVectorList", vectors)]))


def noise_document(swath: Swath, facts: ImageFacts, beta_nought: float) -> bytes:
    """The thermal noise of an SLC image: `beta_nought` everywhere, in the numbers of the image, squared."""
    pixels = _vector_pixels(swath)
    last = len(swath.bursts) * swath.lines - 1
    level = beta_nought * swath.beta_nought**2
    ranges = [
        _element(
            "noiseRangeVector",
            [
                _element("azimuthTime", _moment(swath, burst.time)),
                _element("line", index * swath.lines),
                _numbers("pixel", pixels, "{:.0f}"),
                _numbers("noiseRangeLut", np.full(len(pixels), level), "{:.6e}"),
            ],
        )
        for index, burst in enumerate(swath.bursts)
    ]
    lines = np.unique(np.append(np.arange(0, last, 10), last))
    azimuth = _element(
        "noiseAzimuthVector",
        [
            _element("swath", swath.name),
            _element("firstAzimuthLine", 0),
            _element("firstRangeSample", 0),
            _element("lastAzimuthLine", last),
            _element("lastRangeSample", swath.samples - 1),
            _numbers("line", lines, "{:.0f}"),
            _numbers("noiseAzimuthLut", np.ones(len(lines)), "{:.6e}"),
        ],
    )
    lists = [_listed("noiseRangeVectorList", ranges), _listed("noiseAzimuthVectorList", [azimuth])]
    return _document(_element("noise", [_header(swath, facts), *lists]))


def start_and_stop(swath: Swath) -> tuple[datetime, datetime]:
    """Zero-Doppler times of the first and last line of the image."""
    first, last = swath.bursts[0], swath.bursts[-1]
    return swath.epoch + timedelta(seconds=first.time), swath.epoch + timedelta(seconds=last.time + (swath.lines - 1) * swath.line_s)


def corners(swath: Swath, number: int, height: float) -> list[tuple[float, float]]:
    """Longitude and latitude of the corners of a burst's image."""
    burst = swath.bursts[number]
    line = np.array([0, 0, swath.lines - 1, swath.lines - 1], dtype=float)
    sample = np.array([0, swath.samples - 1, swath.samples - 1, 0], dtype=float)
    points = see(swath.orbit, swath.time(burst, line, sample), swath.range_time(sample) * LIGHT_M_S / 2, np.full(4, height))
    longitude, latitude, _ = geodetic(points)
    return list(zip(longitude.tolist(), latitude.tolist(), strict=True))


def _header(swath: Swath, facts: ImageFacts) -> ElementTree.Element:
    start, stop = start_and_stop(swath)
    return _element(
        "adsHeader",
        [
            _element("missionId", facts.mission),
            _element("productType", "SLC"),
            _element("polarisation", facts.polarisation),
            _element("mode", "IW"),
            _element("swath", swath.name),
            _element("startTime", start),
            _element("stopTime", stop),
            _element("absoluteOrbitNumber", facts.absolute_orbit),
            _element("missionDataTakeId", facts.data_take),
            _element("imageNumber", f"{facts.image_number:03}"),
        ],
    )


def _general(swath: Swath) -> ElementTree.Element:
    middle = swath.bursts[len(swath.bursts) // 2].time
    velocity = swath.orbit.velocity(np.array(middle))
    vectors = swath.orbit.vectors
    orbit = [
        _element(
            "orbit",
            [
                _element("time", _moment(swath, float(time))),
                _element("frame", "Earth Fixed"),
                _vector("position", position),
                _vector("velocity", speed),
            ],
        )
        for time, position, speed in zip(vectors.times, vectors.positions, vectors.velocities, strict=True)
    ]
    rates = [
        _element(
            "azimuthFmRate",
            [
                _element("azimuthTime", _moment(swath, rate.time)),
                _element("t0", rate.t0),
                _numbers("azimuthFmRatePolynomial", rate.coefficients, "{:.15e}"),
            ],
        )
        for rate in swath.fm_rates
    ]
    information = _element(
        "productInformation",
        [
            _element("pass", "Ascending" if velocity[2] > 0 else "Descending"),
            _element("timelinessCategory", "Fast-24h"),
            _element("platformHeading", _heading(swath, middle)),
            _element("projection", "Slant Range"),
            _element("rangeSamplingRate", swath.range_rate_hz),
            _element("radarFrequency", swath.radar_hz),
            _element("azimuthSteeringRate", math.degrees(swath.steering_rad_s)),
        ],
    )
    return _element("generalAnnotation", [information, _listed("orbitList", orbit), _listed("azimuthFmRateList", rates)])


def _image(swath: Swath, facts: ImageFacts) -> ElementTree.Element:
    start, stop = start_and_stop(swath)
    speed = float(np.linalg.norm(swath.orbit.velocity(np.array(swath.bursts[0].time))))
    middle = np.array([swath.samples / 2])
    information = _element(
        "imageInformation",
        [
            _element("productFirstLineUtcTime", start),
            _element("productLastLineUtcTime", stop),
            _element("ascendingNodeTime", facts.node_time),
            _element("productComposition", "Slice"),
            _element("sliceNumber", 1),
            _element("slantRangeTime", swath.first_range_s),
            _element("pixelValue", "Complex"),
            _element("outputPixels", "16 bit Signed Integer"),
            _element("rangePixelSpacing", swath.sample_m),
            _element("azimuthPixelSpacing", speed * swath.line_s * 0.9),
            _element("azimuthTimeInterval", swath.line_s),
            _element("azimuthFrequency", 1 / swath.line_s),
            _element("numberOfSamples", swath.samples),
            _element("numberOfLines", swath.lines * len(swath.bursts)),
            _element("incidenceAngleMidSwath", math.degrees(float(_incidence(swath, np.array([swath.bursts[0].time]), middle)[0]))),
        ],
    )
    bands = [
        _element(
            f"{direction}Processing",
            [
                _element("windowType", "Hamming"),
                _element("windowCoefficient", swath.hamming),
                _element("totalBandwidth", band),
                _element("processingBandwidth", band),
                _element("lookBandwidth", band),
                _element("numberOfLooks", 1),
            ],
        )
        for direction, band in (("range", swath.bands_hz[1]), ("azimuth", swath.bands_hz[0]))
    ]
    parameters = _listed("swathProcParamsList", [_element("swathProcParams", [_element("swath", swath.name), *bands])])
    processing = _element(
        "processingInformation",
        [
            _element("dcMethod", "Data Analysis"),
            _element("thermalNoiseCorrectionPerformed", "false"),
            parameters,
            _element("ellipsoidName", "WGS84"),
            _element("bistaticDelayCorrectionApplied", "true"),
            _element("orbitSource", "Auxiliary"),
        ],
    )
    return _element("imageAnnotation", [information, processing])


def _doppler(swath: Swath, index: int) -> ElementTree.Element:
    doppler = swath.dopplers[index]
    return _element(
        "dcEstimate",
        [
            _element("azimuthTime", _moment(swath, doppler.time)),
            _element("t0", doppler.t0),
            _numbers("geometryDcPolynomial", doppler.coefficients, "{:.6e}"),
            _numbers("dataDcPolynomial", doppler.coefficients, "{:.15e}"),
            _element("dataDcRmsError", 0.0),
        ],
    )


def _timing(swath: Swath) -> ElementTree.Element:
    bursts = []
    for index, burst in enumerate(swath.bursts):
        lines = np.arange(swath.lines)
        inside = (lines >= burst.valid_lines[0]) & (lines <= burst.valid_lines[1])
        bursts.append(
            _element(
                "burst",
                [
                    _element("azimuthTime", _moment(swath, burst.time)),
                    _element("azimuthAnxTime", burst.anx_time),
                    _element("sensingTime", _moment(swath, burst.time + 1.1)),
                    _element("byteOffset", 1_000 + index * swath.lines * swath.samples * 4),
                    _numbers("firstValidSample", np.where(inside, burst.valid_samples[0], -1), "{:.0f}"),
                    _numbers("lastValidSample", np.where(inside, burst.valid_samples[1], -1), "{:.0f}"),
                ],
            )
        )
    return _element(
        "swathTiming",
        [_element("linesPerBurst", swath.lines), _element("samplesPerBurst", swath.samples), _listed("burstList", bursts)],
    )


def _grid(swath: Swath) -> Iterable[ElementTree.Element]:
    """Points on the ellipsoid at the beginning of each burst and the end of the last."""
    samples = np.unique(np.linspace(0, swath.samples - 1, _GRID_COLUMNS).astype(int)).astype(float)
    for index in range(len(swath.bursts) + 1):
        burst = swath.bursts[min(index, len(swath.bursts) - 1)]
        line = np.full(len(samples), 0.0 if index < len(swath.bursts) else swath.lines - 1)
        times = swath.time(burst, line, samples)
        points = see(swath.orbit, times, swath.range_time(samples) * LIGHT_M_S / 2, np.zeros(len(samples)))
        longitude, latitude, height = geodetic(points)
        incidence = np.degrees(_incidence(swath, times, samples))
        image_line = min(index * swath.lines, len(swath.bursts) * swath.lines - 1)
        for column, sample in enumerate(samples):
            yield _element(
                "geolocationGridPoint",
                [
                    _element("azimuthTime", _moment(swath, float(times[column]))),
                    _element("slantRangeTime", float(swath.range_time(sample))),
                    _element("line", image_line),
                    _element("pixel", int(sample)),
                    _element("latitude", float(latitude[column])),
                    _element("longitude", float(longitude[column])),
                    _element("height", float(height[column])),
                    _element("incidenceAngle", float(incidence[column])),
                    _element("elevationAngle", float(incidence[column]) * 0.89),
                ],
            )


def _incidence(swath: Swath, times: Floats, samples: Floats) -> Floats:
    """Radians, on the ellipsoid."""
    points = see(swath.orbit, times, swath.range_time(samples) * LIGHT_M_S / 2, np.zeros(np.shape(samples)))
    longitude, latitude, _ = geodetic(points)
    away = swath.orbit.position(times) - points
    cosine = np.sum(away * up(longitude, latitude), axis=-1) / np.linalg.norm(away, axis=-1)
    return np.asarray(np.arccos(cosine), dtype=np.float64)


def _heading(swath: Swath, time: float) -> float:
    """Of the track on the ground, degrees from north."""
    before, after = (geodetic(swath.orbit.position(np.array(time + step))) for step in (-1.0, 1.0))
    east = float(after[0] - before[0]) * math.cos(math.radians(float(before[1])))
    return math.degrees(math.atan2(east, float(after[1] - before[1])))


def _vector_pixels(swath: Swath) -> Floats:
    return np.unique(np.append(np.arange(0, swath.samples, _VECTOR_STEP), swath.samples - 1)).astype(np.float64)


def _moment(swath: Swath, seconds: float) -> datetime:
    return swath.epoch + timedelta(seconds=seconds)


def _element(tag: str, content: Content) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    match content:
        case str():
            element.text = content
        case datetime():
            element.text = content.replace(tzinfo=None).isoformat(timespec="microseconds")
        case int():
            element.text = str(content)
        case float():
            element.text = f"{content:.15e}"
        case _:
            element.extend(content)
    return element


def _listed(tag: str, elements: Sequence[ElementTree.Element]) -> ElementTree.Element:
    element = _element(tag, elements)
    element.set("count", str(len(elements)))
    return element


def _vector(tag: str, values: Floats) -> ElementTree.Element:
    return _element(tag, [_element(axis, float(value)) for axis, value in zip("xyz", values, strict=True)])


def _numbers(tag: str, values: Iterable[float], form: str) -> ElementTree.Element:
    texts = [form.format(value) for value in values]
    element = _element(tag, " ".join(texts))
    element.set("count", str(len(texts)))
    return element


def _document(root: ElementTree.Element) -> bytes:
    root.insert(0, ElementTree.Comment(f" {SIMULATED} "))
    return bytes(ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)) + b"\n"
