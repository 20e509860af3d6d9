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
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent))

import aiohttp
import asyncpg
from stack import running_stack

from thresher.embedded.endpoint import free_port

AOIS = 20
BANDS = ("B02", "B04", "B08")
LIMIT = 100
_DAYS = 6 * 365
_CHUNK = 20_000


async def fill(database: asyncpg.Connection, count: int) -> None:
    """Records and datasets as the workflow leaves them; the items follow by the triggers.

    Simulated Sentinel-2-like scenes: 500 places in each AOI, seen again and again over six years. AOIs lie beside each other in longitude.
    """
    for band in BANDS:
        await database.execute(
            """WITH v AS (INSERT INTO variable (name, unit, description, dtype, nodata, min_value, max_value, bands)
                          VALUES ($1, 'reflectance', 'simulated', 'uint16', 0, 0, 10000, '{""}') RETURNING id)
               INSERT INTO instance (variable_id, name) SELECT id, 'l2a' FROM v""",
            band,
        )
    await database.execute("SELECT setseed(0.7)")
    await database.execute(_PLACES)
    for first in range(0, count, _CHUNK):
        last = min(first + _CHUNK, count) - 1
        await database.execute(_SCENES, first, last, _DAYS * 86_400, timeout=600)
        await database.execute(_RECORDS)
        await database.execute(_DATASETS, list(BANDS), timeout=600)
        await database.execute("DROP TABLE made")
        if first in (0, 10 * _CHUNK):
            await database.execute("ANALYZE", timeout=600)
        print(f"\r{last + 1:,} items", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    await database.execute("VACUUM ANALYZE", timeout=600)


_PLACES = f"""
CREATE TEMPORARY TABLE place AS
SELECT 500 * aoi + n AS number, 'area' || lpad(aoi::text, 2, '0') AS aoi,
       -170 + 17 * aoi + 12 * random() AS west, -50 + 110 * random() AS south
FROM generate_series(0, {AOIS - 1}) AS aoi, generate_series(0, 499) AS n
"""
_SCENES = f"""
CREATE TEMPORARY TABLE made AS
SELECT gen_random_uuid() AS id, s.number, p.aoi, p.west, p.south, time, cloud, orbit,
       'S2A_MSIL2A_' || to_char(time, 'YYYYMMDD"T"HH24MISS') || '_N0510_R051_T' || lpad(s.number::text, 7, '0') AS name
FROM (SELECT number, floor({500 * AOIS} * random())::int AS place,
             timestamptz '2018-01-01Z' + floor($3::int * random()) * interval '1 s' AS time, floor(101 * random())::int AS cloud,
             CASE WHEN random() < 0.5 THEN 'ASCENDING' ELSE 'DESCENDING' END AS orbit
      FROM generate_series($1::int, $2::int) AS number) AS s JOIN place p ON p.number = s.place
"""
_CORNERS = ((0, 0), (1.5, 0.02), (1.48, 1), (0.01, 0.98), (0, 0))
"""Slanted, as real tiles are in longitude and latitude; in degrees from the south-western."""
_FOOTPRINT = "'\\x000000000300000001' || int4send(5) || " + " || ".join(
    f"float8send(west + {x}) || float8send(south + {y})" for x, y in _CORNERS
)
"""WKB of a polygon, big end first."""
_BOX = "box(point(west, south), point(west + 1.5, south + 1))"
_RECORDS = f"""
INSERT INTO record (id, name, time, identity, tags, footprint, bbox)
SELECT id, name, time, uuid_send(id),
       jsonb_build_object('constellation', 'SENTINEL2', 'satellite', 'SENTINEL2A', 'productType', 'S2MSI2A', 'orbitDirection', orbit,
                          'relativeOrbit', '51', 'cloudCoverPercentage', cloud::text),
       {_FOOTPRINT}, {_BOX} FROM made
"""
_DATASETS = f"""
INSERT INTO dataset (record_id, instance_id, tile, aoi, job_id, layer, uri, size, sha256, dtype, nodata, min_value, max_value, real_min,
                     real_max, exponent, bands, epsg, shape, transform, footprint, bbox, statistics)
SELECT m.id, n.id, m.name, m.aoi, m.id, v.name, '/layers/' || m.aoi || '/' || m.name || '/' || m.name || '_' || v.name || '.tif', 123456789,
       lpad(to_hex(m.number), 64, '0'), 'uint16', 0, 0, 10000, -0.1, 0.9, 1, 1, 32631, '{{10980,10980}}', '{{10,0,499980,0,-10,5800020}}',
       {_FOOTPRINT}, {_BOX}, '[{{"minimum": 1, "maximum": 9000, "mean": 1432.5, "stddev": 812.25, "valid_percent": 98.5}}]'
FROM made m, instance n JOIN variable v ON v.id = n.variable_id WHERE v.name = ANY($1)
"""


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


async def measure(url: str, servers: Servers, count: int, at_once: int, seed: int) -> tuple[dict[str, list[float]], float, float]:
    """Seconds of each search by kind, `at_once` clients asking without pause; the pages a second of all of them; and the seconds of
    processor time of the servers.
    """
    used = await servers.seconds()
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
        rate = sum(map(len, found.values())) / (time.perf_counter() - begun)
        return found, rate, await servers.seconds() - used


class Servers:
    """The processes that answer, to tell how much of the processors they used: on a busy machine that says more than the clock."""

    def __init__(self, service: int, database_url: str) -> None:
        self._service = service
        self._database_url = database_url

    async def seconds(self) -> float:
        """Processor time of the service and of all processes of its database so far."""
        database = await asyncpg.connect(self._database_url)
        postmaster = _stat(await database.fetchval("SELECT pg_backend_pid()"))[1]
        await database.close()
        return _seconds(self._service) + _seconds(postmaster) + sum(map(_seconds, _children(postmaster)))


def _stat(process: int) -> list[int]:
    """From the third field of /proc/PID/stat on; the first of them, a letter, as 0."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return [0] * 50
    return [int(word) if word.lstrip("-").isdigit() else 0 for word in text.rpartition(")")[2].split()]


def _seconds(process: int) -> float:
    """Its own time and that of children that ended."""
    return sum(_stat(process)[11:15]) / os.sysconf("SC_CLK_TCK")


def _children(process: int) -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _stat(int(path.name))[1] == process]


def show(title: str, found: dict[str, list[float]], rate: float, processors: float) -> None:
    each = 1000 * processors / sum(map(len, found.values()))
    title = f"{title}: {each:.1f} ms of processor a page"
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
        own = f"{stack.url}/stac/search", Servers(stack.processes["catalogue"].pid, stack.database_url)
        show("first time, items are written out, 1 client", *await measure(*own, arguments.searches, 1, seed=1))
        if arguments.against_pgstac:
            async with pgstac(arguments, stack.url) as other:
                for at_once in arguments.at_once:
                    for seed in (2, 3):
                        await measure(*other, 45, at_once, seed)
                        show(f"stac-fastapi-pgstac, {at_once} clients", *await measure(*other, arguments.searches, at_once, seed))
                        await measure(*own, arguments.searches, at_once, seed)
                        show(f"Thresher, {at_once} clients", *await measure(*own, arguments.searches, at_once, seed))
        else:
            for at_once in arguments.at_once:
                await measure(*own, arguments.searches, at_once, seed=2)
                show(f"Thresher, {at_once} clients", *await measure(*own, arguments.searches, at_once, seed=2))
        print("memory, peak:", ", ".join(f"{name} {size} MB" for name, size in stack.memory_mb().items()))
        await database.close()


@asynccontextmanager
async def pgstac(arguments: argparse.Namespace, ours: str) -> AsyncIterator[tuple[str, Servers]]:
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
    command = [
        arguments.against_pgstac,
        "-m",
        "uvicorn",
        "stac_fastapi.pgstac.app:create_app",
        "--factory",
        "--port",
        port,
        "--log-level",
        "error",
    ]
    server = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        async with aiohttp.ClientSession() as http:
            for _ in range(300):
                try:
                    async with http.get(f"http://127.0.0.1:{port}/_mgmt/ping"):
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}/search", Servers(server.pid, arguments.pgstac_database)
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
