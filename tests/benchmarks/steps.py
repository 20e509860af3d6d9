"""How fast a step starts: forked from the process that has loaded numpy, rasterio and the shipped steps, against a fresh interpreter.

The time runs from the order to the first line of the step's `main`, which does nothing else; the end is when its exit is known.

Run: python tests/benchmarks/steps.py [--steps 200] [--concurrency 1]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.graph import StepPool, launcher
from common.graph.processes import run_process

STEP = """
import time
import numpy
import rasterio
def main(argv):
    print(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
"""

Runner = Callable[[Callable[[str], None]], Awaitable[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=1)
    arguments = parser.parse_args()
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        package = folder / "timed_steps"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "now.py").write_text(STEP)
        uvloop.run(compare(folder, arguments.steps, arguments.concurrency))


async def compare(folder: Path, steps: int, concurrency: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
    begun = time.perf_counter()
    async with StepPool(["processor.steps", "timed_steps"], environment) as pool:
        await pool.load()
        print(f"pool ready after {time.perf_counter() - begun:.2f} s, {resident(pool.server_pid) / 2**20:.0f} MB")

        async def forked(on_line: Callable[[str], None]) -> int:
            return await pool.run("timed_steps.now", [], workdir=folder, timeout_s=60, on_line=on_line)

        async def fresh(on_line: Callable[[str], None]) -> int:
            command = [sys.executable, "-P", launcher.__file__, "module", str(folder), "timed_steps.now"]
            return await run_process(command, workdir=folder, environment=environment, timeout_s=60, on_line=on_line)

        for name, run, number in (("forked", forked, steps), ("fresh interpreter", fresh, max(10, steps // 10))):
            await measure(run, 3, concurrency)
            starts, ends = await measure(run, number, concurrency)
            print(f"{name:18} start: {told(starts)}   start to end: {told(ends)}   ({number} steps, {concurrency} at once)")


async def measure(run: Runner, number: int, concurrency: int) -> tuple[list[float], list[float]]:
    """Seconds to the first line of `main`, and to the end."""
    places = asyncio.Semaphore(concurrency)
    starts: list[float] = []
    ends: list[float] = []

    async def one() -> None:
        async with places:
            lines: list[str] = []
            begun = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            code = await run(lines.append)
            ended = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            if code:
                raise SystemExit(f"a step failed: {lines}")
            starts.append((int(lines[-1]) - begun) / 1e9)
            ends.append((ended - begun) / 1e9)

    await asyncio.gather(*(one() for _ in range(number)))
    return starts, ends


def told(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"median {statistics.median(seconds) * 1e3:7.1f} ms, p99 {cuts[98] * 1e3:7.1f} ms"


def resident(pid: int | None) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
