"""`order workflows|submit|list|watch|fetch`: the on-demand service from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thresher.cli.console import ExitCode, complain, complaints, note, output, run, told_plainly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thresher.orders import Order, Product, Workflow

order = typer.Typer(no_args_is_help=True, help="Order workflows on products by name.", rich_markup_mode=None)

Number = Annotated[int, typer.Argument(metavar="ORDER", help="Number of an order.")]


@order.command("workflows")
@told_plainly
def workflows(name: Annotated[str, typer.Argument(metavar="[NAME]", help="One of them, with its options.")] = "") -> None:
    """List what can be ordered, or the options of a workflow."""
    found = run(_workflows(name))
    if not found:
        complain(f"there is no workflow '{name}'" if name else "there are no workflows")
        raise typer.Exit(ExitCode.USAGE)
    if name:
        _show_options(found[0])
        return
    _table(["workflow", "what it does"], [[each.name, each.description or each.title] for each in found])


@order.command("submit")
@told_plainly
def submit(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="From `thresher order workflows`.")],
    products: Annotated[list[str] | None, typer.Argument(metavar="[PRODUCT]...", help="Names of products, with or without .SAFE.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", "-o", metavar="NAME=VALUE", help="May stand several times.")] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", metavar="NAME=VARIABLE", help="An option whose value is in a variable of the environment."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Of the order; by default that of the workflow.")] = "",
    priority: Annotated[int, typer.Option("--priority", help="Higher runs first; from 10 on in the urgent lane.")] = 1,
    key: Annotated[str, typer.Option("--key", help="Placed again with the same key, it is the same order.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Wait until it has ended, showing progress.")] = False,
) -> None:
    """Place an order; its number is printed."""
    options = {**_pairs(option or []), **_from_environment(_pairs(secret or []))}
    placed = run(_place(workflow, products or [], options, name or workflow, priority, key))
    output().print(str(placed.id))
    if watch:
        _follow(placed.id)


@order.command("list")
@told_plainly
def list_orders(most: Annotated[int, typer.Option("--most", min=1, max=1000, help="So many, the newest first.")] = 20) -> None:
    """List your orders."""
    rows = [[str(each.id), each.status, each.workflow, each.name, each.submitted] for each in run(_orders(most))]
    if not rows:
        note("there are no orders")
        return
    _table(["order", "status", "workflow", "name", "submitted"], rows)


@order.command("watch")
@told_plainly
def watch(number: Number) -> None:
    """Wait until an order has ended, showing progress."""
    _follow(number)


@order.command("fetch")
@told_plainly
def fetch(
    number: Number,
    folder: Annotated[Path, typer.Option("--out", "-O", metavar="FOLDER", help="Where to put the results.")] = Path(),
) -> None:
    """Fetch the TEMPORARY results of an order."""
    folder.mkdir(parents=True, exist_ok=True)
    fetched = run(_fetch(number, folder))
    for path in fetched:
        output().print(str(path))
    if not fetched:
        complain(f"order {number} has no results here: they were delivered to a bucket, or it has not completed")
        raise typer.Exit(ExitCode.FAILED)


def _follow(number: int) -> None:
    """Show progress until the end; the exit code is 1 if an item has failed."""
    products = run(_watch(number))
    _table(
        ["product", "status", "result", "bytes"],
        [[each.reference or "-", each.status, each.result or "-", str(each.size or "-")] for each in products],
    )
    failed = [each for each in products if each.status != "completed"]
    for each in failed:
        complain(f"{each.status} {each.reference or each.id}: {each.message}")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def _show_options(workflow: Workflow) -> None:
    output().print(f"{workflow.name}: {workflow.description or workflow.title}")
    rows = [
        [each.name, "yes" if each.required else "", each.default or "", " | ".join(each.choices or []), each.description]
        for each in workflow.options
    ]
    _table(["option", "required", "default", "choices", "what it is"], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    output().print(table)


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"'{text.partition('=')[0]}' must be NAME=VALUE")
        found[name] = value
    return found


def _from_environment(variables: dict[str, str]) -> dict[str, str]:
    import os

    missing = [variable for variable in variables.values() if variable not in os.environ]
    if missing:
        raise typer.BadParameter(f"the variable {missing[0]} is not set")
    return {name: os.environ[variable] for name, variable in variables.items()}


async def _workflows(name: str) -> list[Workflow]:
    from thresher.orders import Orders

    async with Orders() as orders:
        return await orders.workflows(name)


async def _place(workflow: str, products: Sequence[str], options: dict[str, str], name: str, priority: int, key: str) -> Order:
    from thresher.orders import Orders

    async with Orders() as orders:
        return await orders.place(workflow, products, options, name=name, priority=priority, key=key)


async def _orders(most: int) -> list[Order]:
    from thresher.orders import Orders

    async with Orders() as orders:
        return await orders.orders(most)


async def _watch(number: int) -> list[Product]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from thresher.orders import Orders

    console = complaints()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"order {number}", total=None)
        said = ""

        def tell(products: Sequence[Product]) -> None:
            nonlocal said
            states = {status: sum(each.status == status for each in products) for status in dict.fromkeys(each.status for each in products)}
            told = ", ".join(f"{count} {status}" for status, count in states.items())
            ended = sum(each.has_ended for each in products)
            progress.update(task, total=len(products), completed=ended, description=f"order {number}: {told}")
            if told != said and not console.is_terminal:
                console.print(f"order {number}: {told}")
            said = told

        async with Orders() as orders:
            return await orders.ended(number, tell)


async def _fetch(number: int, folder: Path) -> list[Path]:
    from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from thresher.orders import Orders

    console = complaints()
    fetched: list[Path] = []
    with Progress(TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn(), console=console) as progress:
        async with Orders() as orders:
            for product in await orders.products(number):
                if product.link is None:
                    continue
                task = progress.add_task(product.result or str(product.id), total=product.size)
                fetched.append(await orders.fetch(product, folder, lambda count, task=task: progress.advance(task, count)))  # type: ignore[misc]
    return fetched
