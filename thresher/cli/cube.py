"""`variables apply` and `variables list`: what the cube measures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thresher.cli.console import note, output, run, told_plainly

if TYPE_CHECKING:
    from thresher.answers import Variable

variables = typer.Typer(no_args_is_help=True, help="What is measured: variables, their formats and instances.", rich_markup_mode=None)


@variables.command("apply")
@told_plainly
def apply(files: Annotated[list[Path], typer.Argument(metavar="FILE.yaml", help="Variables files; payloads/ holds some.")]) -> None:
    """Create the variables of a file, or bring them to what it says."""
    from common.errors import UserError
    from thresher.cli.files import read
    from thresher.variables import read_variables

    wanted: list[Variable] = []
    for file in files:
        try:
            wanted.extend(read_variables(read(file).decode(errors="replace")))
        except UserError as error:
            raise UserError(f"{error} (in {file})" if error.field else str(error)) from None
    created = run(_apply(wanted))
    output().print(f"{len(wanted)} variables applied, {created} of them new")


@variables.command("list")
@told_plainly
def list_variables() -> None:
    """List the variables and their instances."""
    from thresher.tables import print_table, variables_table

    found = run(_list())
    print_table(output(), variables_table(found))
    if not found:
        note("there are none yet: `thresher variables apply FILE.yaml` makes them")


async def _apply(wanted: list[Variable]) -> int:
    from thresher.client import Client

    async with Client() as client:
        return sum([(await client.apply_variable(variable)).created for variable in wanted])


async def _list() -> list[Variable]:
    from thresher.client import Client

    async with Client() as client:
        return await client.variables()
