"""The demonstration from end to end: region, stack, payload, progress, table of datasets, contact sheet."""

from __future__ import annotations

import asyncio
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

from rich.console import Console

from thresher.answers import Dataset
from thresher.client import Client
from thresher.demo.kinds import OPTICAL, RADAR, Kind
from thresher.demo.server import FolderServer
from thresher.demo.stack import DemoStack, remove_data
from thresher.tables import datasets_table, print_table, said
from thresher.variables import read_variables
from thresher.watch import watch_areas

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
    sentinel1: bool = False
    """Radar instead of optical images."""

    @property
    def kind(self) -> Kind:
        return RADAR if self.sentinel1 else OPTICAL


def run_demo(options: DemoOptions, console: Console) -> int:
    """Run the demonstration; the exit code. From the main thread. Stopped by SIGINT or SIGTERM it leaves nothing running."""
    began, kind = time.monotonic(), options.kind
    sheet = (options.sheet or (options.keep / "contact_sheet.png" if options.keep else DEFAULT_SHEET)).absolute()
    sheet.parent.mkdir(parents=True, exist_ok=True)
    with _terminated_as_interrupted(), _folder(options) as (folder, data_dir):
        region_folder = folder / "region"
        region_folder.mkdir(exist_ok=True)
        with FolderServer(region_folder) as server, ThreadPoolExecutor(1) as threads:
            config = folder / "thresher.toml"
            config.write_text(kind.configuration(server.url, region_folder), encoding="utf-8")
            # The region is drawn while the stack starts.
            drawn = threads.submit(kind.make, region_folder)
            with DemoStack(folder, data_dir, config) as stack:
                with console.status("drawing a simulated region, starting the stack"):
                    made, url = drawn.result(), stack.url()
                console.print(f"{made.said}: {server.url}/{made.catalog}", soft_wrap=True)
                console.print(f"stack ready: {url}", soft_wrap=True)
                code, datasets = asyncio.run(_ingest(url, kind, console))
                print_table(console, datasets_table(datasets))
                rows, columns = kind.draw(datasets, sheet)
                console.print(f"{sum(server.requests.values())} requests reached the region's server")
        console.print(f"contact sheet of {rows} tiles on {columns} dates: {sheet}", soft_wrap=True)
        if options.keep:
            console.print(f"everything is kept in {folder}; look at the datasets with: thresher up --data-dir {data_dir}", soft_wrap=True)
    console.print(f"done in {time.monotonic() - began:.0f} s")
    return code


async def _ingest(url: str, kind: Kind, console: Console) -> tuple[int, list[Dataset]]:
    async with Client(url) as client:
        variables = read_variables((files("payloads") / kind.variables).read_text(encoding="utf-8"))
        for variable in variables:
            await client.apply_variable(variable)
        console.print(f"{len(variables)} variables applied from {kind.variables}")
        submission = await client.submit(kind.document())
        console.print(f"{kind.payload}: {said(submission)}")
        outcome = await watch_areas(client, [submission.name], console)
        for sentence in outcome.complaints():
            console.print(f"error: {sentence}", markup=False)
        return int(not outcome.succeeded), [dataset async for dataset in client.datasets(aoi=submission.name)]


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
