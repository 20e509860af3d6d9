"""How fast the STAC API answers pages of 100 items out of a million; with --against-pgstac also how fast stac-fastapi-pgstac does.

Run: python tests/benchmarks/stac.py [--items N] [--export items.ndjson]

The comparison needs a PostgreSQL with PostGIS and an environment with stac-fastapi-pgstac, pypgstac[psycopg] and uvicorn (see
docs/performance.md): --against-pgstac PYTHON --pgstac-database postgresql://... An empty database is filled with the same items first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent))

import aiohttp
import asyncpg
import numpy as np
import shapely
from stack import running_stack

from catalogue.places import bounding_box
from thresher.embedded.endpoint import free_port

AOIS = 20
BANDS = ("B02", "B04", "B08")
LIMIT = 100
_DAYS = 6 * 365
_CHUNK = 20_000


@dataclass(frozen=True)
class Scene:
    """A simulated Sentinel-2-like scene of an AOI; a tile of 110 km in a band of longitudes of its own."""

    number: int
    aoi: str
    west: float
    south: float
    time: datetime
    cloud: int
    orbit: str

    @property
    def name(self) -> str:
        return f"S2A_MSIL2A_{self.time:%Y%m%dT%H%M%S}_N0510_R051_T{self.number:07d}"


def scenes(count: int) -> Iterator[Scene]:
    """Half a thousand places in each AOI, seen again and again over six years."""
    rng = random.Random(7)
    places = [(rng.uniform(-170 + 17 * aoi, -170 + 17 * aoi + 12), rng.uniform(-50, 60)) for aoi in range(AOIS) for _ in range(500)]
    for number in range(count):
        place = rng.randrange(len(places))
        west, south = places[place]
        moment = datetime(2018, 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(_DAYS), seconds=rng.randrange(86_400))
        yield Scene(number, f"area{place // 500:02d}", west, south, moment, rng.randrange(101), rng.choice(("ASCENDING", "DESCENDING")))


async def fill(database: asyncpg.Connection, count: int) -> None:
    """Records and datasets as the workflow leaves them; the items follow by the triggers."""
    await database.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + json.dumps(value).encode(),
        decoder=lambda content: json.loads(content[1:]),
    )
    instances = []
    for band in BANDS:
        variable = await database.fetchval(
            "INSERT INTO variable (name, unit, description, dtype, nodata, min_value, max_value, bands)"
            " VALUES ($1, 'reflectance', 'simulated', 'uint16', 0, 0, 10000, '{\"\"}') RETURNING id",
            band,
        )
        instances.append(await database.fetchval("INSERT INTO instance (variable_id, name) VALUES ($1, 'l2a') RETURNING id", variable))
    source = scenes(count)
    while chunk := list(islice(source, _CHUNK)):
        await _copy(database, chunk, instances)
        print(f"\r{chunk[-1].number + 1:,} items", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    await database.execute("ANALYZE", timeout=600)


async def _copy(database: asyncpg.Connection, chunk: Sequence[Scene], instances: Sequence[UUID]) -> None:
    west, south = np.array([scene.west for scene in chunk]), np.array([scene.south for scene in chunk])
    # Slanted, as real tiles are in longitude and latitude.
    corners = np.stack([west, south, west + 1.5, south + 0.02, west + 1.48, south + 1, west + 0.01, south + 0.98], axis=1).reshape(-1, 4, 2)
    outlines = shapely.polygons(corners)
    wkb = shapely.to_wkb(outlines)
    boxes = [bounding_box(outline) for outline in outlines]
    ids = [uuid4() for _ in chunk]
    records = [
        (
            key,
            scene.name,
            scene.time,
            key.bytes,
            {
                "constellation": "SENTINEL2",
                "satellite": "SENTINEL2A",
                "productType": "S2MSI2A",
                "orbitDirection": scene.orbit,
                "relativeOrbit": "51",
                "cloudCoverPercentage": str(scene.cloud),
            },
            footprint,
            box,
        )
        for key, scene, footprint, box in zip(ids, chunk, wkb, boxes, strict=True)
    ]
    await database.copy_records_to_table(
        "record", records=records, columns=("id", "name", "time", "identity", "tags", "footprint", "bbox"), timeout=600
    )
    statistics = [{"minimum": 1, "maximum": 9000, "mean": 1432.5, "stddev": 812.25, "valid_percent": 98.5}]
    datasets = [
        (
            key,
            instance,
            scene.name,
            scene.aoi,
            key,
            band,
            f"/layers/{scene.aoi}/{scene.name}/{scene.name}_{band}.tif",
            123_456_789,
            f"{scene.number:064x}",
            "uint16",
            0.0,
            0.0,
            10_000.0,
            -0.1,
            0.9,
            1.0,
            1,
            32631,
            [10_980, 10_980],
            [10.0, 0.0, 499_980.0, 0.0, -10.0, 5_800_020.0],
            footprint,
            box,
            statistics,
        )
        for key, scene, footprint, box in zip(ids, chunk, wkb, boxes, strict=True)
        for band, instance in zip(BANDS, instances, strict=True)
    ]
    columns = (
        "record_id",
        "instance_id",
        "tile",
        "aoi",
        "job_id",
        "layer",
        "uri",
        "size",
        "sha256",
        "dtype",
        "nodata",
        "min_value",
        "max_value",
        "real_min",
        "real_max",
        "exponent",
        "bands",
        "epsg",
        "shape",
        "transform",
        "footprint",
        "bbox",
        "statistics",
    )
    await database.copy_records_to_table("dataset", records=datasets, columns=columns, timeout=600)


def searches(seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kinds of searches, turn about, each somewhere else."""
    rng = random.Random(seed)
    while True:
        aoi = rng.randrange(AOIS)
        west, south = rng.uniform(-170 + 17 * aoi, -160 + 17 * aoi), rng.uniform(-50, 58)
        first = datetime(2018, 1, 1, tzinfo=UTC) + timedelta(days=rng.randrange(_DAYS - 60))
        span = f"{first:%Y-%m-%dT%H:%M:%SZ}/{first + timedelta(days=60):%Y-%m-%dT%H:%M:%SZ}"
        small, large = [west, south, west + 1, south + 1], [west - 10, south - 20, west + 10, min(89, south + 20)]
        ring = [[west, south], [west + 2, south + 0.5], [west + 1, south + 2], [west, south]]
        collection = {"collections": [f"area{aoi:02d}"]}
        yield "newest of a collection", collection
        yield "two months of a collection", {**collection, "datetime": span}
        yield "two months of everything", {"datetime": span}
        yield "bbox of 1 degree", {"bbox": small}
        yield "bbox of 20 x 40 degrees", {"bbox": large}
        yield "bbox and two months", {"bbox": large, "datetime": span}
        yield "polygon", {"intersects": {"type": "Polygon", "coordinates": [ring]}}
        yield (
            "little cloud",
            {**collection, "filter-lang": "cql2-json", "filter": {"op": "<", "args": [{"property": "eo:cloud_cover"}, 10]}},
        )
        yield (
            "a platform, in a bbox",
            {
                "bbox": large,
                "filter-lang": "cql2-json",
                "filter": {"op": "=", "args": [{"property": "platform"}, "sentinel-2a"]},
            },
        )


async def measure(url: str, count: int, at_once: int, seed: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of each search by kind, `at_once` clients asking without pause; and the pages a second of all of them."""
    found: dict[str, list[float]] = {}
    work = islice(searches(seed), count)
    async with aiohttp.ClientSession() as http:

        async def ask(kind: str, body: dict[str, Any]) -> Any:
            begun = time.perf_counter()
            async with http.post(url, json={**body, "limit": LIMIT}) as response:
                content = await response.read()
                assert response.status == 200, content[:500]
            found.setdefault(kind, []).append(time.perf_counter() - begun)
            return content

        async def client() -> None:
            for kind, body in work:
                content = await ask(kind, body)
                if kind == "two months of everything":
                    page = json.loads(content)
                    link = next((link for link in page["links"] if link["rel"] == "next"), None)
                    if link:
                        await ask("its next page", {**body, **link.get("body", {})})

        begun = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(at_once)))
        return found, sum(map(len, found.values())) / (time.perf_counter() - begun)


def show(title: str, found: dict[str, list[float]], rate: float) -> None:
    every = sorted(value for values in found.values() for value in values)
    print(f"\n{title}: {len(every)} pages of {LIMIT}, p50 {_at(every, 0.5):.1f} ms, p95 {_at(every, 0.95):.1f} ms, {rate:.1f} pages/s")
    for kind, values in sorted(found.items()):
        values.sort()
        print(f"  {kind:28} p50 {_at(values, 0.5):7.1f} ms   p95 {_at(values, 0.95):7.1f} ms   ({len(values)})")


def _at(values: Sequence[float], share: float) -> float:
    return 1000 * values[min(len(values) - 1, int(share * len(values)))]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--searches", type=int, default=900, help="of each run")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4], help="clients that ask at the same time")
    parser.add_argument("--against-pgstac", metavar="PYTHON", help="interpreter of an environment with stac-fastapi-pgstac")
    parser.add_argument("--pgstac-database", metavar="URL", help="a database with PostGIS that is filled where it is empty")
    arguments = parser.parse_args()
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    async with running_stack() as stack:
        database = await asyncpg.connect(stack.database_url, command_timeout=600)
        begun = time.perf_counter()
        await fill(database, arguments.items)
        print(f"{arguments.items:,} items with {len(BANDS)} layers each indexed in {time.perf_counter() - begun:.0f} s")
        url = f"{stack.url}/stac/search"
        show("first time, items are written out, 1 client", *await measure(url, arguments.searches, 1, seed=1))
        if arguments.against_pgstac:
            async with pgstac(arguments, stack.url) as other:
                for at_once in arguments.at_once:
                    for seed in (2, 3):
                        await measure(other, 45, at_once, seed)
                        show(f"stac-fastapi-pgstac, {at_once} clients", *await measure(other, arguments.searches, at_once, seed))
                        await measure(url, arguments.searches, at_once, seed)
                        show(f"Thresher, {at_once} clients", *await measure(url, arguments.searches, at_once, seed))
        else:
            for at_once in arguments.at_once:
                await measure(url, arguments.searches, at_once, seed=2)
                show(f"Thresher, {at_once} clients", *await measure(url, arguments.searches, at_once, seed=2))
        print("memory, peak:", ", ".join(f"{name} {size} MB" for name, size in stack.memory_mb().items()))
        await database.close()


@asynccontextmanager
async def pgstac(arguments: argparse.Namespace, ours: str) -> AsyncIterator[str]:
    """stac-fastapi-pgstac as one process, over the same items; the address of its search."""
    parts, port = urlsplit(arguments.pgstac_database), str(free_port())
    environment = {
        **os.environ,
        "PGUSER": parts.username or "",
        "PGPASSWORD": parts.password or "",
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or 5432),
        "PGDATABASE": parts.path.lstrip("/"),
        "APP_PORT": port,
    }
    await _load(arguments, ours, environment)
    command = [arguments.against_pgstac, "-m", "uvicorn", "stac_fastapi.pgstac.app:app", "--port", port, "--log-level", "error"]
    server = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        async with aiohttp.ClientSession() as http:
            for _ in range(300):
                try:
                    async with http.get(f"http://127.0.0.1:{port}/_mgmt/ping"):
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}/search"
    finally:
        server.terminate()
        await server.wait()


async def _load(arguments: argparse.Namespace, ours: str, environment: dict[str, str]) -> None:
    """Take every item from our own API and load it as pypgstac does, unless that was done before."""
    database = await asyncpg.connect(arguments.pgstac_database, command_timeout=3600)
    pypgstac = [arguments.against_pgstac, "-m", "pypgstac.pypgstac"]
    if not await database.fetchval("SELECT to_regclass('pgstac.items') IS NOT NULL"):
        await _run(environment, *pypgstac, "migrate")
    if not await database.fetchval("SELECT EXISTS (SELECT FROM pgstac.items)"):
        folder = Path(os.environ.get("TMPDIR", "/tmp"))
        items, collections = folder / f"items-{os.getpid()}.ndjson", folder / f"collections-{os.getpid()}.ndjson"
        try:
            await _export(ours, items, collections)
            begun = time.perf_counter()
            await _run(environment, *pypgstac, "load", "collections", str(collections), "--method", "insert")
            await _run(environment, *pypgstac, "load", "items", str(items), "--method", "insert")
            print(f"loaded into pgstac in {time.perf_counter() - begun:.0f} s")
        finally:
            items.unlink(missing_ok=True)
            collections.unlink(missing_ok=True)
        await database.execute("ANALYZE", timeout=3600)
    print(f"pgstac holds {await database.fetchval('SELECT count(*) FROM pgstac.items'):,} items")
    await database.close()


async def _run(environment: dict[str, str], *command: str) -> None:
    child = await asyncio.create_subprocess_exec(*command, env=environment)
    if await child.wait():
        raise SystemExit(f"{' '.join(command)} failed")


async def _export(url: str, items: Path, collections: Path) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{url}/stac/collections") as response:
            found = (await response.json())["collections"]
        collections.write_text("\n".join(map(json.dumps, found)))
        following: str | None = f"{url}/stac/search?limit=1000"
        with items.open("w") as file:
            while following:
                async with http.get(following) as response:
                    page = await response.json(content_type=None)
                file.writelines(json.dumps(item) + "\n" for item in page["features"])
                following = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)


if __name__ == "__main__":
    asyncio.run(main())
