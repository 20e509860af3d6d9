"""`deletions show`, `hold` and `release`: nothing is deleted while a backup is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from thresher.cli.console import output, run, told_plainly

if TYPE_CHECKING:
    from thresher.answers import Deletions
    from thresher.client import Client

deletions = typer.Typer(no_args_is_help=True, help="Files that are no longer needed: see, hold, release.", rich_markup_mode=None)


@deletions.command("show")
@told_plainly
def show() -> None:
    """How many files wait to be deleted."""
    _print(run(_show()))


@deletions.command("hold")
@told_plainly
def hold(minutes: Annotated[int, typer.Option(help="The hold ends by itself after so long.")] = 120) -> None:
    """Delete nothing: before the dump of the database, until the storage is copied."""
    _print(run(_hold(minutes)))


@deletions.command("release")
@told_plainly
def release() -> None:
    """Delete again."""
    _print(run(_release()))


def _print(state: Deletions) -> None:
    held = f"; nothing is deleted before {state.held_until:%Y-%m-%d %H:%M} UTC" if state.held_until else ""
    output().print(f"{state.waiting} files wait to be deleted{held}")


async def _show() -> Deletions:
    async with _client() as client:
        return await client.deletions()


async def _hold(minutes: int) -> Deletions:
    async with _client() as client:
        return await client.hold_deletions(minutes)


async def _release() -> Deletions:
    async with _client() as client:
        return await client.release_deletions()


def _client() -> Client:
    from thresher.client import Client

    return Client()
