"""Draws the figures of docs/sentinel1.md: residuals of the geolocation on real annotations, coherence and phase on simulated bursts.

Run: python tests/benchmarks/sar_figures.py [--folder docs] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from matplotlib import pyplot
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import sentinel1_data
from simulated_bursts import simulated_series
from test_s1_series import PLAIN, expected_phase, parts

from processor.sar import ellipsoid
from processor.sar.annotation import parse_annotation
from processor.sar.geometry import zero_doppler
from processor.sar.series import Series, SeriesOptions

DATA = Path(os.environ.get("THRESHER_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
MODERN = (*sentinel1_data.PAIR, sentinel1_data.SERIES[3], sentinel1_data.ROME)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parents[2] / "docs")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    pyplot.switch_backend("Agg")
    geolocation(options.data, options.folder / "sentinel1-geolocation.png")
    coherence(options.folder / "sentinel1-coherence.png")


def geolocation(data: Path, target: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for scene in MODERN:
        lines, samples = [], []
        for file in sentinel1_data.annotations(data, scene):
            if "-vv-" not in file.name:
                continue
            annotation = parse_annotation(file.content, file.name)
            grid = annotation.geolocation
            orbit = annotation.orbit.polynomial(grid.epoch, grid.epoch + timedelta(seconds=float(grid.azimuth_time.max())))
            azimuth_time, range_time = zero_doppler(orbit, ellipsoid.ecef(grid.longitude, grid.latitude, grid.height))
            lines.append((azimuth_time - orbit.seconds(grid.epoch) - grid.azimuth_time) / annotation.grid.line_interval_s)
            samples.append((range_time - grid.slant_range_time) * annotation.grid.range_sampling_rate_hz)
        by_line, by_sample = np.concatenate(lines), np.concatenate(samples)
        label = f"{scene[17:25]} ({by_line.size} points)"
        left.hist(by_line * 1000, bins=60, histtype="step", label=label)
        right.hist(by_sample * 1e6, bins=60, histtype="step", label=label)
        print(f"{scene}: at most {np.abs(by_line).max():.5f} lines, {np.abs(by_sample).max():.2e} samples")
    left.set(xlabel="residual in thousandths of a line", ylabel="points", title="Azimuth")
    right.set(xlabel="residual in millionths of a sample", title="Range")
    left.legend(fontsize=8)
    figure.savefig(target, dpi=110)


def coherence(target: Path) -> None:
    figure, axes = pyplot.subplots(1, 4, figsize=(13, 4.2), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        stable = simulated_series(Path(folder) / "1", replace(PLAIN, coherences={"field": 1.0}), dates=(0, 1, 2))
        changing = simulated_series(Path(folder) / "06", replace(PLAIN, coherences={"field": 0.6}), dates=(0, 2), seed=6)
        series = Series(stable.bursts[0], stable.dem, SeriesOptions())
        pairs = {
            "true coherence 1": (stable.bursts[2], stable.bursts[1]),
            "true coherence 0.6": (changing.bursts[1], changing.bursts[0]),
            "true coherence 0": (stable.bursts[1], changing.bursts[1]),
        }
        for axis, (name, (first, second)) in zip(axes, pairs.items(), strict=False):
            found = series.interferogram(series.coregistered(first), series.coregistered(second))
            image = axis.imshow(found.coherence, vmin=0, vmax=1, aspect="auto", cmap="magma")
            means = [float(np.nanmean(part)) for part in parts(found.coherence)]
            axis.set(title=f"{name}:\nsixths {min(means):.4f} to {max(means):.4f}", xlabel="sample / 4")
            print(name, [round(mean, 4) for mean in means])
            if name == "true coherence 1":
                row, column = np.meshgrid(np.arange(2, found.grid.lines, 8), np.arange(4, found.grid.samples, 8), indexing="ij")
                truth = expected_phase(stable, series, found, 2, 1)(row, column)
                profile: NDArray[np.float64] = np.angle(np.nanmean(found.phasor[row, column] * np.exp(-1j * truth), axis=1))
                axes[3].plot(row[:, 0], profile, linewidth=0.8)
                phases = [float(np.angle(np.nanmean(part))) for part in parts(found.phasor[row, column] * np.exp(-1j * truth))]
                print("phase in each sixth, near and far:", [round(phase, 5) for phase in phases])
        figure.colorbar(image, ax=axes[2])
    axes[0].set(ylabel="line")
    axes[3].set(title="coherence 1: phase less that of\nthe simulated ground, by line", xlabel="line", ylabel="rad", ylim=(-0.01, 0.01))
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
