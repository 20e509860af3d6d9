"""The contact sheet of the radar region: backscatter, and coherence where there is a date before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thresher.answers import Dataset
from thresher.demo.sheet import Cell, compose, painted, real_values

_TITLE = "Simulated Sentinel-1: red coherence, green VV, blue VH (first date: backscatter alone)"
_DECIBELS = {"BackscatterSigma0VV": (-20.0, -2.0), "BackscatterSigma0VH": (-28.0, -10.0)}
"""Shown as black and as full colour."""
_COHERENCE = "CoherenceVV"
_SAME_PLACE_DS = 5


def draw_radar_sheet(datasets: Iterable[Dataset], path: Path) -> tuple[int, int]:
    """Write the contact sheet of the bursts that have backscatter in VV and VH to `path`; its rows and columns of pictures."""
    found = list(datasets)
    rows = _places(sorted({dataset.tile for dataset in found}))
    layers: dict[tuple[str, date], dict[str, Dataset]] = {}
    for dataset in found:
        layers.setdefault((rows[dataset.tile], dataset.record.time.date()), {})[dataset.variable] = dataset
    cells = {place: _cell(of_place) for place, of_place in layers.items() if _DECIBELS.keys() <= of_place.keys()}
    tiles = sorted({tile for tile, _ in cells})
    dates = sorted({day for _, day in cells})
    compose(cells, tiles, dates, _TITLE).save(path, format="PNG")
    return len(tiles), len(dates)


def _places(tiles: Iterable[str]) -> dict[str, str]:
    """The row of each tile: ids of one place differ by a few tenths of a second from date to date."""
    rows: dict[str, str] = {}
    last = ""
    for tile in tiles:
        track, _, time = tile.rpartition("_")
        known, _, before = last.rpartition("_")
        if not (last and track == known and time.isdecimal() and int(time) - int(before) < _SAME_PLACE_DS):
            last = tile
        rows[tile] = last
    return rows


def _cell(layers: Mapping[str, Dataset]) -> Cell:
    green, blue = (_stretched(layers[variable]) for variable in _DECIBELS)
    if _COHERENCE not in layers:
        return Cell(painted([green, green, green]), "first of its series")
    coherence = real_values(layers[_COHERENCE])
    shape = np.minimum(coherence.shape, green.shape)
    cut = [channel[: shape[0], : shape[1]] for channel in (coherence, green, blue)]
    return Cell(painted(cut), f"coherence {np.nanmean(coherence):.2f}")


def _stretched(dataset: Dataset) -> NDArray[np.float64]:
    low, high = _DECIBELS[dataset.variable]
    decibels = 10 * np.log10(np.clip(real_values(dataset), 1e-6, None))
    return np.asarray((decibels - low) / (high - low), dtype=np.float64)
