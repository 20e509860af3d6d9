"""`submit`, `status` and `retry`: start the ingestion of areas and see to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thresher.cli.console import ExitCode, complain, complaints, note, output, run, told_plainly

if TYPE_CHECKING:
    from common.errors import UserError
    from thresher.answers import AreaLine, AreaStatus, Item, RetryCounts, Submission
    from thresher.cli.files import LoadedPayload
    from thresher.client import Client


@told_plainly
def submit(
    payloads: Annotated[list[Path], typer.Argument(metavar="PAYLOAD", help="Payloads, JSON or YAML; - reads standard input.")],
    scenes_file: Annotated[
        Path | None, typer.Option("--scenes", metavar="FILE", help="Ingest these scenes only, as kept by `scenes -o`.")
    ] = None,
    tiles_file: Annotated[
        Path | None, typer.Option("--tiles", metavar="FILE", help="Ingest these tiles only, as kept by `tiles -o`.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until everything is done, showing progress.")] = False,
) -> None:
    """Start the ingestion of one or several payloads."""
    if scenes_file and tiles_file:
        raise typer.BadParameter("give --scenes or --tiles, not both")
    if (scenes_file or tiles_file) and len(payloads) > 1:
        raise typer.BadParameter("--scenes and --tiles go with a single payload")
    submissions = run(_submit(payloads, scenes_file, tiles_file)) if len(payloads) == 1 else run(_submit_all(payloads))
    _report(submissions, [str(path) for path in payloads])
    started = list(dict.fromkeys(submission.name for submission in submissions if submission.problem is None))
    code = _exit_code(submissions)
    if watch and started:
        code = max(code, _watch(started))
    if code:
        raise typer.Exit(code)


@told_plainly
def status(area: Annotated[str | None, typer.Argument(metavar="[AOI]", help="Name of an area; none: list them all.")] = None) -> None:
    """Show how far an area is, or list the areas."""
    from thresher.tables import area_table, areas_table, print_table

    if area is None:
        print_table(output(), areas_table(run(_areas())))
        return
    state, troubles = run(_area(area))
    print_table(output(), area_table(state))
    if state.first and state.last:
        output().print(f"root tiles {state.root_tiles}, from {state.first} to {state.last}")
    for item in troubles:
        complain(f"{item.status} {item.source_id}: {item.message}")


@told_plainly
def retry(
    area: Annotated[str, typer.Argument(metavar="AOI", help="Name of an area.")],
    force: Annotated[bool, typer.Option("--force", help="Also what failed for good or is stuck.")] = False,
) -> None:
    """Run again the scenes and tiles of an area that may be retried."""
    counts = run(_retry(area, force=force))
    output().print(
        f"{counts.scenes} scenes and {counts.tiles} tiles run again" if counts.scenes or counts.tiles else "nothing to retry in this area"
    )


async def _submit(payloads: list[Path], scenes_file: Path | None, tiles_file: Path | None) -> list[Submission]:
    from thresher.cli.files import load_payload, load_scenes
    from thresher.client import Client

    loaded = load_payload(payloads[0])
    scenes = load_scenes(scenes_file) if scenes_file else None
    tiles = load_scenes(tiles_file) if tiles_file else None
    async with Client() as client:
        with complaints().status("asking the catalogues"):
            return [await client.submit(loaded.document, scenes=scenes, tiles=tiles)]


async def _submit_all(paths: list[Path]) -> list[Submission]:
    """One request for all payloads that pass the local checks; those that do not are reported beside them."""
    from common.errors import UserError
    from thresher.cli.files import LoadedPayload, load_payload
    from thresher.client import Client

    checked: list[LoadedPayload | Submission] = []
    for path in paths:
        try:
            checked.append(load_payload(path))
        except UserError as error:
            checked.append(_refused(error))
    good = [entry for entry in checked if isinstance(entry, LoadedPayload)]
    if not good:
        return [entry for entry in checked if not isinstance(entry, LoadedPayload)]
    async with Client() as client:
        with complaints().status(f"submitting {len(good)} payloads"):
            answers = iter(await _answers(client, good))
    return [next(answers) if isinstance(entry, LoadedPayload) else entry for entry in checked]


async def _answers(client: Client, good: list[LoadedPayload]) -> list[Submission]:
    from common.errors import UserError

    try:
        submissions = await client.submit_all([entry.document for entry in good])
    except UserError as error:
        if len(good) > 1:
            raise
        submissions = [_refused(error)]
    return [
        submission if submission.name else submission.model_copy(update={"name": entry.payload.name})
        for submission, entry in zip(submissions, good, strict=True)
    ]


def _refused(error: UserError) -> Submission:
    from thresher.answers import Problem, Submission

    return Submission(status=error.status, problem=Problem(status=error.status, detail=error.detail, field=error.field))


def _report(submissions: list[Submission], sources: list[str]) -> None:
    from thresher.tables import print_table, said, submissions_table

    if len(submissions) > 1:
        print_table(output(), submissions_table(submissions, sources))
    else:
        submission = submissions[0]
        output().print(f"{submission.name}: {said(submission)}")
    for submission in submissions:
        for sentence in submission.notes:
            note(f"{submission.name}: {sentence}")


def _exit_code(submissions: list[Submission]) -> ExitCode:
    refused = [submission for submission in submissions if submission.problem is not None]
    if not refused:
        return ExitCode.DONE
    return ExitCode.USAGE if all(400 <= submission.status < 500 for submission in refused) else ExitCode.FAILED


def _watch(areas: list[str]) -> ExitCode:
    from thresher.client import Client
    from thresher.watch import watch_areas

    async def watch() -> ExitCode:
        async with Client() as client:
            outcome = await watch_areas(client, areas, output())
        for sentence in outcome.complaints():
            complain(sentence)
        return ExitCode.DONE if outcome.succeeded else ExitCode.FAILED

    return run(watch())


async def _areas() -> list[AreaLine]:
    from thresher.client import Client

    async with Client() as client:
        return await client.areas()


async def _area(name: str) -> tuple[AreaStatus, list[Item]]:
    from thresher.client import Client
    from thresher.watch import troubles_of

    async with Client() as client:
        state = await client.area(name)
        return state, await troubles_of(client, state)


async def _retry(name: str, *, force: bool) -> RetryCounts:
    from thresher.client import Client

    async with Client() as client:
        return await client.retry(name, force=force)
