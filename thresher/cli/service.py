"""`up`: the whole stack on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thresher.cli.console import told_plainly


@told_plainly
def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Of the HTTP API; 0: any free one; default: 8080 or as configured.")
    ] = None,
    data_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept.")] = Path(".thresher"),
    storage: Annotated[
        str | None, typer.Option(metavar="URI", help="Folder or s3://bucket/prefix for layers; default: in the data directory.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Configuration; default: $THRESHER_CONFIG, else ./thresher.toml if there.")
    ] = None,
    demo_auth: Annotated[
        bool, typer.Option("--demo-auth", help="Have people log in, as the user whose password is printed; on this machine alone.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Also show the logs of the parts.")] = False,
) -> None:
    """Start PostgreSQL, NATS, catalogue, downloader and processor; stop them with Ctrl-C. Prints `ready URL` when everything answers."""
    from thresher.stack import UpOptions, up

    code = up(UpOptions(data_dir=data_dir, port=port, storage=storage, config=config, demo_auth=demo_auth, verbose=verbose))
    if code:
        raise typer.Exit(code)
