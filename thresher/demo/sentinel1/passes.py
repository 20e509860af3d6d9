"""The passes of the demonstration: one repeat orbit of Sentinel-1, a little to the side each time, over made-up ground.

Timeline, bands, steering and frequencies are those of the IW mode; the sub-swaths are narrow, so that products stay small.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from thresher.demo.sentinel1.documents import ImageFacts, annotation_document, calibration_document, noise_document, start_and_stop
from thresher.demo.sentinel1.orbit import LIGHT_M_S, Floats, Orbit, StateVectors, circular_orbit, fit_orbit, see, seen_at
from thresher.demo.sentinel1.product import ImageDocuments, ProductDocuments, image_stem
from thresher.demo.sentinel1.swath import Burst, RangePolynomial, Swath

MISSION = "S1A"
RELATIVE_ORBIT = 88
POLARISATIONS = ("VV", "VH")
REPEAT = timedelta(days=12)
NOISE = 10 ** (-2.6)
"""Beta nought of thermal noise."""

_FIRST_NODE = datetime(2024, 1, 16, 17, 11, 23, 418_000, tzinfo=UTC)
_FIRST_ORBIT, _ORBITS = 52_135, 175
_TAKE = 0x064CDA
_PERIOD_S = 12 * 86_400 / _ORBITS
_NODE_LONGITUDE, _INCLINATION, _RADIUS_M = 19.5, 98.18, 7_071_000.0
_MIDDLE_S = 2.299849 + (187_175 - 0.5) * 2.758273 - (RELATIVE_ORBIT - 1) * _PERIOD_S
"""Of the first burst cycle, after the node: the middle of a beam of ESA's burst id map."""
_CYCLE_S = 2.758273
_LINE_S = 2.0555562999999998e-3
_RANGE_RATE_HZ, _RADAR_HZ = 64_345_238.12571428, 5_405_000_454.33435
_BETA_NOUGHT = 237.0
_EDGE_LINES, _EDGE_SAMPLES = 20, 30
_OVERLAP = 130
_VECTORS_S = 10.0


@dataclass(frozen=True)
class PassPlan:
    """How a pass differs from the first."""

    right_m: float = 0.0
    """Of the track of the first; and above it."""
    up_m: float = 0.0
    late_s: float = 0.0
    """By so much its bursts begin later: synchronised to a few milliseconds."""
    doppler_hz: float = 0.0
    """Doppler centroid in the middle of the swath."""


PASSES = (PassPlan(0, 0, 0, 6), PassPlan(62, -25, 0.00131, -11), PassPlan(-38, 31, -0.00214, 9))


@dataclass(frozen=True)
class SwathPlan:
    """What the mode and the demonstration say of a sub-swath."""

    name: str
    samples: int
    steering: float
    """Degrees a second."""
    azimuth_band_hz: float
    range_band_hz: float
    before_middle_s: float
    """From the zero-Doppler time of its first line to the middle of the burst cycle."""


PLANS = (
    SwathPlan("IW1", 1_800, 1.590368784, 327.0, 56.5e6, 1.133 + 0.832 + 0.539),
    SwathPlan("IW2", 1_800, 0.979863325, 313.0, 48.3e6, 1.020 + 0.539),
    SwathPlan("IW3", 600, 1.397440818, 314.0, 42.79e6, 1.140 - 0.539),
)
_SECOND_RANGE_S = 5.649388426530416e-3
"""Of the first sample of IW2."""


def product_documents(index: int, bursts: int = 2, lines: int = 1_500) -> ProductDocuments:
    """The documents of the product of a pass of `PASSES`, with so many bursts of so many lines a sub-swath."""
    swaths = [_swath(plan, index, bursts, lines) for plan in PLANS]
    starts, stops = zip(*(start_and_stop(swath) for swath in swaths), strict=True)
    orbit, take = _FIRST_ORBIT + _ORBITS * index, _TAKE + 0x99 * index
    begin = f"{MISSION}_IW_SLC__1SDV_{min(starts):%Y%m%dT%H%M%S}_{max(stops):%Y%m%dT%H%M%S}_{orbit:06}_{take:06X}"
    images = []
    numbered = [(polarisation, swath) for polarisation in reversed(POLARISATIONS) for swath in swaths]
    for number, (polarisation, swath) in enumerate(numbered, 1):
        facts = ImageFacts(MISSION, polarisation, orbit, take, number, node_time(index))
        images.append(
            ImageDocuments(
                swath,
                polarisation,
                image_stem(MISSION, swath.name, polarisation, start_and_stop(swath), orbit, take, number),
                annotation_document(swath, facts),
                calibration_document(swath, facts),
                noise_document(swath, facts, NOISE),
            )
        )
    return ProductDocuments(f"{begin}_{zlib.crc32(begin.encode()) & 0xFFFF:04X}", tuple(images))


def node_time(index: int) -> datetime:
    """When the satellite crossed the equator before a pass."""
    return _FIRST_NODE + REPEAT * index


def absolute_orbit(index: int) -> int:
    return _FIRST_ORBIT + _ORBITS * index


def _swath(plan: SwathPlan, index: int, count: int, lines: int) -> Swath:
    of_pass = PASSES[index]
    names = [each.name for each in PLANS]
    first_anx_s = _MIDDLE_S - plan.before_middle_s + of_pass.late_s
    node = node_time(index)
    epoch = node + timedelta(seconds=math.floor(_MIDDLE_S - 3))
    after_node = (epoch - node).total_seconds()
    orbit = _orbit(of_pass, after_node)
    width = PLANS[names.index("IW1")].samples
    steps = {"IW1": -(width - _OVERLAP), "IW2": 0, "IW3": PLANS[names.index("IW2")].samples - _OVERLAP}
    first_range_s = _SECOND_RANGE_S + steps[plan.name] / _RANGE_RATE_HZ
    bursts = []
    for number in range(count):
        anx_time = round(first_anx_s + number * _CYCLE_S, 6)
        bursts.append(
            Burst(
                round(anx_time - after_node, 6),
                anx_time,
                (_EDGE_LINES, lines - _EDGE_LINES - 1),
                (_EDGE_SAMPLES, plan.samples - _EDGE_SAMPLES - 1),
            )
        )
    range_times = first_range_s + np.linspace(0, plan.samples, 40) / _RANGE_RATE_HZ
    middles = [burst.time + lines / 2 * _LINE_S for burst in bursts]
    return Swath(
        name=plan.name,
        epoch=epoch,
        orbit=orbit,
        bursts=tuple(bursts),
        lines=lines,
        samples=plan.samples,
        line_s=_LINE_S,
        first_range_s=first_range_s,
        range_rate_hz=_RANGE_RATE_HZ,
        radar_hz=_RADAR_HZ,
        steering_rad_s=math.radians(plan.steering),
        fm_rates=tuple(_fm_rate(orbit, middle, range_times) for middle in middles),
        dopplers=tuple(_doppler(of_pass, middle, first_range_s) for middle in middles),
        bands_hz=(plan.azimuth_band_hz, plan.range_band_hz),
        hamming=0.75,
        beta_nought=_BETA_NOUGHT,
        bulk_s=_SECOND_RANGE_S + PLANS[1].samples / 2 / _RANGE_RATE_HZ,
    )


def _orbit(plan: PassPlan, after_node: float) -> Orbit:
    """State vectors from a minute before the epoch to a minute and a half after, times after the epoch."""
    times = after_node + np.arange(-60, 91, _VECTORS_S)
    found = circular_orbit(
        times,
        node_longitude=_NODE_LONGITUDE,
        inclination=_INCLINATION,
        radius_m=_RADIUS_M,
        period_s=_PERIOD_S,
        offset_m=(plan.right_m, plan.up_m),
    ).vectors
    # As annotations write them: to micrometres.
    return fit_orbit(StateVectors(times - after_node, np.round(found.positions, 6), np.round(found.velocities, 6)))


def _fm_rate(orbit: Orbit, time: float, range_times: Floats) -> RangePolynomial:
    """The azimuth FM rate of targets on the ellipsoid: -2 / wavelength times the second derivative of their distance."""
    points = see(orbit, np.full(len(range_times), time), range_times * LIGHT_M_S / 2, np.zeros(len(range_times)))
    times, nearest = seen_at(orbit, points)
    step = 0.5
    before, after = (np.linalg.norm(points - orbit.position(times + moved), axis=-1) for moved in (-step, step))
    rate = -2 * _RADAR_HZ / LIGHT_M_S * (before - 2 * nearest + after) / step**2
    t0 = float(range_times[0])
    coefficients = np.polynomial.polynomial.polyfit(range_times - t0, rate, 2)
    return RangePolynomial(time, t0, tuple(map(float, coefficients)))


def _doppler(plan: PassPlan, time: float, first_range_s: float) -> RangePolynomial:
    return RangePolynomial(time, first_range_s, (plan.doppler_hz, 1.2e5, -4.0e7))
