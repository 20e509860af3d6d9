"""SIMULATED: what happens with up to 5,000 workers, from service times that `workflow.py` measured: the figures of docs/scale.md.

A discrete-event simulation. A worker has a slot; a tile takes as long as a draw from a log-normal distribution; its result waits for a
catalogue (one processor each), which then has the database and the broker do their part; the next job goes to the slot that waits
longest, as long as fewer than `in_flight` jobs are out. Every part is a queue with a number of servers and a constant cost a tile.

Run: python tests/benchmarks/simulate.py [--plot FILE] [--minutes N]
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# Milliseconds of processor time a tile, scene and tile job together: `processor time a tile` of tests/benchmarks/workflow.py.
CATALOGUE_MS = 0.36
DATABASE_MS = 0.37
BROKER_MS = 0.19
HOP_MS = 8.4
WORKERS = (1, 10, 50, 100, 200, 500, 1000, 2000, 3000, 4000, 5000)


@dataclass(frozen=True)
class Plant:
    """What is deployed."""

    workers: int
    tile_s: float
    """Median duration of a tile."""
    spread: float = 0.5
    """Sigma of the logarithm."""
    in_flight: int = 2000
    catalogues: int = 2
    database_cores: int = 4
    broker_cores: int = 1
    replicas: int = 3
    """Of the streams: each message is written so many times, by as many nodes."""


@dataclass
class Station:
    """A queue with several equal servers."""

    servers: int
    cost_s: float
    waiting: deque[Callable[[], None]] = field(default_factory=deque)
    busy: int = 0
    worked_s: float = 0.0
    longest: int = 0

    def utilisation(self, elapsed_s: float) -> float:
        return self.worked_s / (self.servers * elapsed_s)


class Simulation:
    def __init__(self, plant: Plant, seed: int = 1) -> None:
        self.plant = plant
        self.now = 0.0
        self.done = 0
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._out = 0
        self._idle = plant.workers
        self._idle_s = 0.0
        self._idle_since = 0.0
        self.catalogue = Station(plant.catalogues, CATALOGUE_MS / 1000)
        self.database = Station(plant.database_cores, DATABASE_MS / 1000)
        self.broker = Station(plant.broker_cores, BROKER_MS / 1000)

    def run(self, seconds: float, warm_s: float) -> None:
        self._dispatch()
        self._until(warm_s)
        for station in (self.catalogue, self.database, self.broker):
            station.worked_s, station.longest = 0.0, len(station.waiting)
        self.done, self._idle_s, self._idle_since = 0, 0.0, self.now
        self._until(warm_s + seconds)
        self._count_idle()

    @property
    def idle_share(self) -> float:
        """Of the time of workers."""
        return self._idle_s / (self.plant.workers * self._elapsed)

    def _until(self, end: float) -> None:
        self._began = getattr(self, "_began", 0.0) if self.now == 0 else self.now
        while self._events and self._events[0][0] <= end:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        self._elapsed = end - self._began
        self.now = end

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, happen))

    def _count_idle(self) -> None:
        self._idle_s += self._idle * (self.now - self._idle_since)
        self._idle_since = self.now

    def _dispatch(self) -> None:
        while self._idle and self._out < self.plant.in_flight:
            self._count_idle()
            self._idle -= 1
            self._out += 1
            duration = self.plant.tile_s * math.exp(self._random.gauss(0.0, self.plant.spread))
            self._after(HOP_MS / 1000 + duration, self._ended)

    def _ended(self) -> None:
        # The slot asks for its next job at once; the job that ended is out until its result is stored.
        self._count_idle()
        self._idle += 1
        self._serve(self.broker, lambda: self._serve(self.catalogue, lambda: self._serve(self.database, self._stored)))
        self._dispatch()

    def _stored(self) -> None:
        self._out -= 1
        self.done += 1
        self._dispatch()

    def _serve(self, station: Station, then: Callable[[], None]) -> None:
        if station.busy < station.servers:
            self._begin(station, then)
        else:
            station.waiting.append(then)
            station.longest = max(station.longest, len(station.waiting))

    def _begin(self, station: Station, then: Callable[[], None]) -> None:
        station.busy += 1
        station.worked_s += station.cost_s

        def finish() -> None:
            station.busy -= 1
            if station.waiting:
                self._begin(station, station.waiting.popleft())
            then()

        self._after(station.cost_s, finish)


def simulated(plant: Plant, minutes: float) -> tuple[Simulation, float]:
    """The simulation at its end, and tiles a second."""
    simulation = Simulation(plant)
    seconds = minutes * 60
    simulation.run(seconds, warm_s=max(60.0, 3 * plant.tile_s))
    return simulation, simulation.done / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="simulated, after the start")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    cases = [
        ("60 s a tile, in_flight 2000", {"tile_s": 60.0}),
        ("60 s a tile, in_flight 10000", {"tile_s": 60.0, "in_flight": 10_000}),
        ("2 s a tile, in_flight 10000", {"tile_s": 2.0, "in_flight": 10_000}),
    ]
    curves: dict[str, list[float]] = {}
    print(f"SIMULATED with {CATALOGUE_MS} ms of catalogue, {DATABASE_MS} ms of database and {BROKER_MS} ms of broker a tile")
    for name, more in cases:
        print(
            f"\n{name}\n| workers | tiles/s | of what they could | idle | catalogue | database | broker | longest queue |\n"
            + "|---" * 8
            + "|"
        )
        for workers in WORKERS:
            plant = Plant(workers, **more)
            simulation, rate = simulated(plant, arguments.minutes)
            mean_s = plant.tile_s * math.exp(plant.spread**2 / 2) + HOP_MS / 1000
            elapsed = arguments.minutes * 60
            stations = (simulation.catalogue, simulation.database, simulation.broker)
            shares = " | ".join(f"{station.utilisation(elapsed):.1%}" for station in stations)
            longest = max(station.longest for station in stations)
            print(f"| {workers:,} | {rate:,.1f} | {rate / (workers / mean_s):.0%} | {simulation.idle_share:.1%} | {shares} | {longest:,} |")
            curves.setdefault(name, []).append(rate)
    if arguments.plot:
        draw(arguments.plot, curves)


def draw(path: Path, curves: dict[str, list[float]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, rates in curves.items():
        axes.loglog(WORKERS, rates, marker="o", label=name)
    axes.set_xlabel("workers (slots)")
    axes.set_ylabel("tiles a second")
    axes.set_title("Simulated throughput, from measured service times")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
