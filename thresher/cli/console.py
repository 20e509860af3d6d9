"""Where the command line writes, and how it ends: one clear line for what went wrong and the exit code that says whose turn it is."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine
from enum import IntEnum
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")

_PIPE_WIDTH = 1000


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1
    """The work failed."""
    USAGE = 2
    """What was asked cannot be done as it is written: payload, file, arguments, token."""
    UNREACHABLE = 3
    """The service does not answer."""


def output() -> Console:
    """Standard output: in a pipe without colour, frames and line breaks."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=not sys.stdout.isatty())


def complaints() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def told_plainly(command: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
    """A command whose failures become one line on standard error and an exit code instead of a traceback."""

    @functools.wraps(command)
    def told(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Value:
        from common.errors import ThresherError

        try:
            return command(*args, **kwargs)
        except ThresherError as error:
            complain(str(error))
            raise typer.Exit(_exit_code(error)) from None
        except OSError as error:
            complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
            raise typer.Exit(ExitCode.FAILED) from None

    return told


def _exit_code(error: Exception) -> ExitCode:
    from common.errors import UserError
    from thresher.client import UnreachableError

    if isinstance(error, UserError):
        return ExitCode.USAGE
    return ExitCode.UNREACHABLE if isinstance(error, UnreachableError) else ExitCode.FAILED


def complain(sentence: str) -> None:
    complaints().print(f"[bold red]error:[/] {_plain(sentence)}")


def note(sentence: str) -> None:
    """Something worth knowing that is no error."""
    complaints().print(f"[yellow]note:[/] {_plain(sentence)}")


def run(work: Coroutine[Any, Any, Value]) -> Value:
    """`work` carried out; interrupted cleanly by Ctrl-C."""
    return asyncio.run(work)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("[", r"\[")
