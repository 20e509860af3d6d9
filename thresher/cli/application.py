"""The commands put together. Modules that take long to load are imported by the commands that need them, not here."""

from __future__ import annotations

import typer

from thresher.cli import area, cube, dead, deletions, demonstration, download, export, graph, order, review, service

application = typer.Typer(
    name="thresher",
    help="Turns an area of interest into analysis-ready data. THRESHER_URL (default http://127.0.0.1:8080) and THRESHER_TOKEN say which "
    "service the commands speak to.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
application.command("up")(service.up)
application.command("scenes")(review.scenes)
application.command("tiles")(review.tiles)
application.command("submit")(area.submit)
application.command("status")(area.status)
application.command("retry")(area.retry)
application.command("download")(download.download)
application.add_typer(cube.variables, name="variables")
application.add_typer(dead.dead, name="dead")
application.add_typer(deletions.deletions, name="deletions")
application.add_typer(export.export, name="export")
application.add_typer(graph.graph, name="graph")
application.add_typer(order.order, name="order")
application.command("demo")(demonstration.demo)


def _version(show: bool) -> None:
    if show:
        from thresher import __version__

        typer.echo(f"thresher {__version__}")
        raise typer.Exit


@application.callback()
def _options(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version and exit.")) -> None:
    pass


def main() -> None:
    application(prog_name="thresher")
