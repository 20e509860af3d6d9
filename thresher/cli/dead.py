"""`dead list` and `dead retry`: messages nobody could read, and jobs that seem to kill their workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from thresher.cli.console import note, output, run, told_plainly

if TYPE_CHECKING:
    from thresher.answers import DeadLetter

dead = typer.Typer(no_args_is_help=True, help="Dead letters: what nobody could read or run.", rich_markup_mode=None)


@dead.command("list")
@told_plainly
def list_dead() -> None:
    """List the dead letters, the oldest first."""
    from thresher.tables import dead_table, print_table

    letters = run(_list())
    if letters:
        print_table(output(), dead_table(letters))
    else:
        note("there are no dead letters")


@dead.command("retry")
@told_plainly
def retry(
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER...", help="Numbers of dead letters, from `thresher dead list`.")],
) -> None:
    """Send dead letters again, once what was wrong is mended."""
    for number in numbers:
        output().print(f"{number}: {run(_retry(number))}")


async def _list() -> list[DeadLetter]:
    from thresher.client import Client

    async with Client() as client:
        return await client.dead()


async def _retry(number: int) -> str:
    from thresher.client import Client

    async with Client() as client:
        return await client.retry_dead(number)
