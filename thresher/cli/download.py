"""`download`: products fetched without the pipeline, by the downloader in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thresher.cli.console import ExitCode, complain, complaints, output, told_plainly

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SHOWN = 60
_USAGE_KINDS = {"usage"}


@told_plainly
def download(
    products: Annotated[list[str], typer.Argument(metavar="PRODUCT", help="Names of products, or links.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Where to put them.")] = Path(),
    members: Annotated[
        list[str] | None, typer.Option("--members", metavar="PATTERN", help="Only these files of each product: 'annotation/*'.")
    ] = None,
    provider: Annotated[str, typer.Option("--provider", metavar="NAME", help="Ask this provider only.")] = "",
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.")] = None,
) -> None:
    """Fetch products from the configured providers. Run again, it goes on where it ended."""
    options = [*(f"--members={pattern}" for pattern in members or []), f"--provider={provider}", f"--out={out}"]
    options += [f"--config={config}"] if config else []
    command = [sys.executable, "-P", "-m", "downloader.fetch", *options, "--", *products]
    code = _follow(command)
    if code:
        raise typer.Exit(code)


def _follow(command: list[str]) -> ExitCode:
    """Show what the downloader tells, and say how it ended."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=service_environment(), text=True)
    assert process.stdout is not None
    kinds: list[str] = []
    try:
        with _bars() as bars:
            tasks: dict[str, TaskID] = {}
            for line in process.stdout:
                _show(json.loads(line), bars, tasks, kinds)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        raise
    finally:
        code = process.wait()
    if code == 0:
        return ExitCode.DONE
    return ExitCode.USAGE if kinds and set(kinds) <= _USAGE_KINDS else ExitCode.FAILED


def _show(event: dict[str, object], bars: Progress, tasks: dict[str, TaskID], kinds: list[str]) -> None:
    product = str(event["product"])
    if product not in tasks:
        tasks[product] = bars.add_task(product if len(product) <= _SHOWN else f"…{product[1 - _SHOWN :]}", total=None)
    task = tasks[product]
    if "bytes" in event:
        done, total = event["bytes"], event["total"]
        bars.update(task, completed=float(str(done)), total=float(str(total)) if total is not None else None)
    elif "path" in event:
        bars.update(task, total=bars.tasks[task].completed or 1, completed=bars.tasks[task].completed or 1)
        output().print(str(event["path"]))
    elif "error" in event:
        bars.update(task, visible=False)
        kinds.append(str(event["kind"]))
        complain(str(event["error"]))


def _bars() -> Progress:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=complaints(), disable=not sys.stderr.isatty())


def service_environment() -> dict[str, str]:
    """Ours, so that the same code is found also where it is not installed."""
    from common.identity import own_root

    # What goes wrong is told by events; the log of the downloader would run through the bars.
    return {
        "THRESHER_LOG_LEVEL": "error",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(own_root()), os.environ.get("PYTHONPATH")])),
    }
