"""Simulated bursts: the pixels of one burst on all dates of a series, from ground, geometry and speckle.

A target has the same phase and speckle on all dates, but for its distance (so that the interferogram has the fringes of baseline, flat
earth and topography) and for the coherence of what covers it: each date keeps the share `coherence` of the speckle of the date before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thresher.demo.sentinel1.orbit import LIGHT_M_S, Floats, geocentric, geodetic, see, seen_at, up
from thresher.demo.sentinel1.speckle import Complexes, interpolated, point_response, quick_length, spectrum_window, white_speckle
from thresher.demo.sentinel1.swath import Burst, Swath, tops_phase
from thresher.demo.sentinel1.terrain import COVERS, Terrain

_LINE_STEP, _SAMPLE_STEP = 12, 20
"""Of the grid on which the geometry is solved; between its points it is interpolated by cubics."""
_CLOSE_M = 1e-3
_TURNS = 25
_PAD = 16
"""Pixels of speckle around what any date sees, for the interpolation."""
_REACH = 24
"""Pixels around a point target that get its response."""


@dataclass(frozen=True)
class Window:
    """The part of a burst that is simulated: lines and samples, from 0, ends excluded."""

    lines: tuple[int, int]
    samples: tuple[int, int]


@dataclass(frozen=True)
class View:
    """A burst on one date, on the ground. All arrays have the shape of the window."""

    lines: Floats
    """Line in the burst of the first date that shows the same ground."""
    samples: Floats
    classes: NDArray[np.uint8]
    """Index in `COVERS`."""
    normaliser: NDArray[np.float32]
    """Beta nought of a surface whose normalised backscatter is 1: one over the sine of the projected local incidence angle."""


def simulated_burst(
    swaths: Sequence[Swath],
    index: int,
    terrain: Terrain,
    polarisations: Sequence[str],
    *,
    seed: int,
    window: Window | None = None,
    noise: float = 0.0,
) -> Iterator[tuple[int, str, Complexes]]:
    """For each date and polarisation: the date's index in `swaths` (one sub-swath on several dates) and the burst's pixels.

    Pixels are numbers as in a product, complex, of the shape of the window (default: the whole burst), 0 where the annotation says they are
    not valid. `noise`: beta nought of thermal noise, added to every date.
    """
    first = swaths[0]
    window = window or Window((0, first.lines), (0, first.samples))
    views = [view_of(swath, first, index, terrain, window) for swath in swaths]
    field = _Field.around(window, views)
    spectrum = spectrum_window(*field.shape, first.shares, first.hamming)
    coherence = field.padded(np.array([terrain.coherence_of(cover) for cover in COVERS], dtype=np.float32)[views[0].classes])
    for number, polarisation in enumerate(polarisations):
        rng = np.random.default_rng([seed, index, number, int(first.name[-1])])
        speckle = white_speckle(rng, spectrum)
        for date, (swath, view) in enumerate(zip(swaths, views, strict=True)):
            if date:
                fresh = np.sqrt(1 - coherence**2) * white_speckle(rng, spectrum)
                speckle = np.asarray(coherence * speckle + fresh, dtype=np.complex64)
            pixels = field.seen(speckle, view)
            pixels *= _echo(swath, first, view, window, polarisation)
            _add_reflectors(pixels, swath, first, index, terrain, window)
            if noise:
                pixels += np.float32(math.sqrt(noise)) * white_speckle(rng, spectrum)[: pixels.shape[0], : pixels.shape[1]]
            yield date, polarisation, _finished(pixels, swath, first, index, view, window)


@dataclass(frozen=True)
class _Field:
    """The pixels of the first date whose speckle any date sees: the window and a margin."""

    window: Window
    margin: tuple[int, int]
    """In lines and samples."""

    @classmethod
    def around(cls, window: Window, views: Sequence[View]) -> _Field:
        own = views[0]
        most = [max(float(np.max(np.abs(view.lines - own.lines))) for view in views)]
        most.append(max(float(np.max(np.abs(view.samples - own.samples))) for view in views))
        return cls(window, (math.ceil(most[0]) + _PAD, math.ceil(most[1]) + _PAD))

    @property
    def shape(self) -> tuple[int, int]:
        """Of both, and a little more where Fourier transforms are quicker then."""
        (first, last), (near, far) = self.window.lines, self.window.samples
        return quick_length(last - first + 2 * self.margin[0]), quick_length(far - near + 2 * self.margin[1])

    def padded(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        after = [whole - own - margin for whole, own, margin in zip(self.shape, values.shape, self.margin, strict=True)]
        return np.pad(values, list(zip(self.margin, after, strict=True)), mode="edge")

    def seen(self, speckle: Complexes, view: View) -> Complexes:
        lines = view.lines - self.window.lines[0] + self.margin[0]
        return interpolated(speckle, lines, view.samples - self.window.samples[0] + self.margin[1])


def view_of(swath: Swath, first: Swath, index: int, terrain: Terrain, window: Window) -> View:
    """Where the ground that a burst shows lies in the same burst of the first date, and what it is."""
    coarse_lines, coarse_samples = _coarse(*window.lines, _LINE_STEP), _coarse(*window.samples, _SAMPLE_STEP)
    lines, samples = np.meshgrid(coarse_lines, coarse_samples, indexing="ij")
    points = ground(swath, swath.bursts[index], terrain, lines, samples)
    longitude, latitude, _ = geodetic(points)
    down, across = _cubics(coarse_lines, *window.lines), _cubics(coarse_samples, *window.samples)

    def fine(values: Floats) -> Floats:
        return np.asarray(down @ values @ across.T, dtype=np.float64)

    same_lines, same_samples = np.meshgrid(np.arange(*window.lines, dtype=float), np.arange(*window.samples, dtype=float), indexing="ij")
    if swath is not first:
        there = first.pixel(first.bursts[index], *seen_at(first.orbit, points))
        same_lines += fine(there[0] - lines)
        same_samples += fine(there[1] - samples)
    east, north = terrain.local(longitude, latitude)
    sine = np.sin(_projected_incidence(swath, swath.bursts[index], terrain, points, lines, samples))
    return View(same_lines, same_samples, terrain.classes(fine(east), fine(north)), fine(1 / sine).astype(np.float32))


def ground(swath: Swath, burst: Burst, terrain: Terrain, lines: Floats, samples: Floats) -> Floats:
    """The points of the ground, shape (..., 3), that pixels of a burst show; slopes must be gentle, so that each shows one."""
    times = swath.time(burst, lines, samples)
    ranges = swath.range_time(samples) * LIGHT_M_S / 2
    heights = np.full(np.shape(lines), terrain.base_m)
    points = see(swath.orbit, times, ranges, heights)
    for _ in range(_TURNS):
        longitude, latitude, _ = geodetic(points)
        found = terrain.height(longitude, latitude)
        if float(np.max(np.abs(found - heights))) < _CLOSE_M:
            break
        heights = found
        points = see(swath.orbit, times, ranges, heights)
    return points


def reflector_pixels(swath: Swath, burst: Burst, terrain: Terrain) -> list[tuple[float, float, float]]:
    """Line, sample and range (m) of each reflector of the terrain in a burst, wherever that is."""
    if not terrain.reflectors:
        return []
    longitude = np.array([reflector.longitude for reflector in terrain.reflectors])
    latitude = np.array([reflector.latitude for reflector in terrain.reflectors])
    times, ranges = seen_at(swath.orbit, geocentric(longitude, latitude, terrain.height(longitude, latitude)))
    lines, samples = swath.pixel(burst, times, ranges)
    return list(zip(lines.tolist(), samples.tolist(), ranges.tolist(), strict=True))


def _echo(swath: Swath, first: Swath, view: View, window: Window, polarisation: str) -> Complexes:
    """What the ground makes of the speckle: the root of its beta nought, and the phase of its distance compared with the first date's."""
    samples = np.arange(*window.samples, dtype=np.float64)[None, :]
    nearer_m = (first.first_range_s - swath.first_range_s) * LIGHT_M_S / 2 + (view.samples - samples) * swath.sample_m
    backscatter = np.array([cover.backscatter[polarisation] for cover in COVERS], dtype=np.float32)[view.classes]
    echo = np.exp(4j * np.pi / swath.wavelength_m * nearer_m).astype(np.complex64)
    echo *= np.sqrt(backscatter * view.normaliser)
    return np.asarray(echo, dtype=np.complex64)


def _finished(pixels: Complexes, swath: Swath, first: Swath, index: int, view: View, window: Window) -> Complexes:
    """With the phase of the steered beam, in the numbers of the product, without what is not valid.

    Focusing keeps the phase of each target, whatever the beam did: the ramp only moves the spectrum around it. All dates have therefore the
    ramp of the first, as it is where that shows the same ground; in theirs, a different Doppler centroid or a later burst would leave
    fringes that no pair of images has.
    """
    burst = swath.bursts[index]
    lines, samples = np.arange(*window.lines, dtype=np.float64), np.arange(*window.samples, dtype=np.float64)
    phase = np.mod(tops_phase(first, first.bursts[index], view.lines, view.samples), 2 * np.pi).astype(np.float32)
    pixels *= np.exp(1j * phase)
    pixels *= np.float32(swath.beta_nought)
    pixels[(lines < burst.valid_lines[0]) | (lines > burst.valid_lines[1])] = 0
    pixels[:, (samples < burst.valid_samples[0]) | (samples > burst.valid_samples[1])] = 0
    return pixels


def _add_reflectors(pixels: Complexes, swath: Swath, first: Swath, index: int, terrain: Terrain, window: Window) -> None:
    here = reflector_pixels(swath, swath.bursts[index], terrain)
    there = reflector_pixels(first, first.bursts[index], terrain)
    for reflector, (line, sample, range_m), (_, _, first_m) in zip(terrain.reflectors, here, there, strict=True):
        rows = np.arange(max(round(line) - _REACH, window.lines[0]), min(round(line) + _REACH + 1, window.lines[1]))
        columns = np.arange(max(round(sample) - _REACH, window.samples[0]), min(round(sample) + _REACH + 1, window.samples[1]))
        if not rows.size or not columns.size:
            continue
        down = point_response(np.asarray(rows - line, dtype=np.float64), swath.shares[0], swath.hamming)
        across = point_response(np.asarray(columns - sample, dtype=np.float64), swath.shares[1], swath.hamming)
        phase = np.exp(-4j * np.pi / swath.wavelength_m * (range_m - first_m))
        place = np.ix_(rows - window.lines[0], columns - window.samples[0])
        pixels[place] += (reflector.amplitude * phase * down[:, None] * across[None, :]).astype(np.complex64)


def _projected_incidence(swath: Swath, burst: Burst, terrain: Terrain, points: Floats, lines: Floats, samples: Floats) -> Floats:
    """Between the direction to the satellite and the normal of the ground projected into the plane of that direction and the vertical."""
    longitude, latitude, _ = geodetic(points)
    away = swath.orbit.position(swath.time(burst, lines, samples)) - points
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    across = np.cross(away, up(longitude, latitude))
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    normal = terrain.normal(longitude, latitude)
    projected = normal - np.sum(normal * across, axis=-1, keepdims=True) * across
    projected /= np.linalg.norm(projected, axis=-1, keepdims=True)
    return np.asarray(np.arccos(np.clip(np.sum(projected * away, axis=-1), -1, 1)), dtype=np.float64)


def _coarse(start: int, stop: int, step: int) -> Floats:
    """Every `step`, from one step before the start to two past the end."""
    return np.arange(start - step, stop + 2 * step, step, dtype=float)


def _cubics(coarse: Floats, start: int, stop: int) -> Floats:
    """The matrix from values at `coarse` to values at every pixel: Lagrange's cubics, shape (stop - start, len(coarse))."""
    step = coarse[1] - coarse[0]
    place = (np.arange(start, stop) - coarse[0]) / step
    whole = np.clip(np.floor(place).astype(int), 1, len(coarse) - 3)
    x = place - whole
    weights = (-x * (x - 1) * (x - 2) / 6, (x + 1) * (x - 1) * (x - 2) / 2, -(x + 1) * x * (x - 2) / 2, (x + 1) * x * (x - 1) / 6)
    matrix = np.zeros((stop - start, len(coarse)))
    for offset, weight in enumerate(weights):
        matrix[np.arange(stop - start), whole - 1 + offset] = weight
    return matrix
