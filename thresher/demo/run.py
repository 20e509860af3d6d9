"""The demonstration from end to end: region, stack, payload, progress, table of datasets, contact sheet."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from thresher.answers import Dataset
from thresher.client import Client
from thresher.demo.region import COLLECTION, Region, make_region
from thresher.demo.server import FolderServer
from thresher.demo.sheet import draw_sheet
from thresher.demo.stack import DemoStack, remove_data
from thresher.tables import datasets_table, print_table, said
from thresher.variables import read_variables
from thresher.watch import watch_areas

PAYLOAD = "demo_sentinel2.json"
VARIABLES = "sentinel2.variables.yaml"
DEFAULT_SHEET = Path("thresher_demo.png")


@dataclass(frozen=True)
class DemoOptions:
    """What a person can choose."""

    keep: Path | None = None
    """Folder for everything the demonstration makes; None: a temporary one, removed at the end."""
    data_dir: Path | None = None
    """Of the stack; None: inside that folder."""
    sheet: Path | None = None
    """Contact sheet; None: in the folder that is kept, else in the current one."""


def run_demo(options: DemoOptions, console: Console) -> int:
    """Run the demonstration; the exit code. From the main thread. Stopped by SIGINT or SIGTERM it leaves nothing running."""
    began = time.monotonic()
    sheet = (options.sheet or (options.keep / "contact_sheet.png" if options.keep else DEFAULT_SHEET)).absolute()
    sheet.parent.mkdir(parents=True, exist_ok=True)
    with _terminated_as_interrupted(), _folder(options) as (folder, data_dir):
        region_folder = folder / "region"
        region_folder.mkdir(exist_ok=True)
        with FolderServer(region_folder) as server, ThreadPoolExecutor(1) as threads:
            config = folder / "thresher.toml"
            config.write_text(configuration(server.url), encoding="utf-8")
            # The region is drawn while the stack starts.
            drawn = threads.submit(make_region, region_folder)
            with DemoStack(folder, data_dir, config) as stack:
                with console.status("drawing a simulated region, starting the stack"):
                    region, url = drawn.result(), stack.url()
                _introduce(console, region, server.url, url)
                code, datasets = asyncio.run(_ingest(url, console))
                print_table(console, datasets_table(datasets))
                rows, columns = draw_sheet(datasets, sheet, "Simulated Sentinel-2 L2A, surface reflectance in true colour")
                console.print(f"{sum(server.requests.values())} requests reached the region's server")
        console.print(f"contact sheet of {rows} tiles on {columns} dates: {sheet}", soft_wrap=True)
        if options.keep:
            console.print(f"everything is kept in {folder}; look at the datasets with: thresher up --data-dir {data_dir}", soft_wrap=True)
    console.print(f"done in {time.monotonic() - began:.0f} s")
    return code


def configuration(region_url: str) -> str:
    """The `thresher.toml` that makes a stack look for scenes in the region served at `region_url`, and nowhere else."""
    return f"""# The demonstration region: a static STAC catalogue on loopback, which has to be allowed by its exact origin.
[catalogues.demo]
type = "static-stac"
url = "{region_url}/catalog.json"
collections = {{ "sentinel2/S2MSI2A" = ["{COLLECTION}"] }}

[providers.demo]
type = "stac-asset"
constellations = ["sentinel2"]

[limits]
allowed_urls = ["{region_url}/"]
"""


def demo_payload() -> dict[str, Any]:
    """The payload of the demonstration, as it comes with the program."""
    document: dict[str, Any] = json.loads((files("payloads") / PAYLOAD).read_text(encoding="utf-8"))
    return document


async def _ingest(url: str, console: Console) -> tuple[int, list[Dataset]]:
    async with Client(url) as client:
        variables = read_variables((files("payloads") / VARIABLES).read_text(encoding="utf-8"))
        for variable in variables:
            await client.apply_variable(variable)
        console.print(f"{len(variables)} variables applied from {VARIABLES}")
        submission = await client.submit(demo_payload())
        console.print(f"{PAYLOAD}: {said(submission)}")
        outcome = await watch_areas(client, [submission.name], console)
        for sentence in outcome.complaints():
            console.print(f"error: {sentence}", markup=False)
        return int(not outcome.succeeded), [dataset async for dataset in client.datasets(aoi=submission.name)]


def _introduce(console: Console, region: Region, region_url: str, url: str) -> None:
    tiles = sorted({scene.tile for scene in region.scenes})
    console.print(f"{len(region.scenes)} SIMULATED scenes of {' and '.join(tiles)}: {region_url}/{region.catalog}", soft_wrap=True)
    console.print(f"stack ready: {url}", soft_wrap=True)


@contextmanager
def _folder(options: DemoOptions) -> Iterator[tuple[Path, Path]]:
    """The folder to work in and the data directory of the stack; removed afterwards unless they are a person's."""
    if options.keep is not None:
        folder = options.keep.absolute()
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="thresher-demo-"))
        # Run by root, PostgreSQL runs as somebody else and has to get through here to its own folder below.
        folder.chmod(0o711)
    data_dir = options.data_dir.absolute() if options.data_dir else folder / "stack"
    try:
        yield folder, data_dir
    finally:
        if options.keep is None:
            if options.data_dir is None:
                remove_data(data_dir)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does, so that everything is stopped and removed."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
