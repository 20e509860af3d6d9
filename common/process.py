"""How each service's `python -m` works: arguments, configuration, log, signals, and one clear line when it cannot start."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from common.config import Settings, load_settings
from common.errors import ConfigurationError
from common.identity import assert_own_packages
from common.log import configure_logging

EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits: starting it again will not help."""


def run_service(name: str, about: str, serve: Callable[[Settings, asyncio.Event], Awaitable[None]], argv: list[str] | None = None) -> int:
    """Run `serve(settings, stop)` until it returns; `stop` is set on SIGTERM or SIGINT. The exit status."""
    parser = argparse.ArgumentParser(
        prog=f"python -P -m {name}",
        description=about,
        epilog="Every key of the configuration can also be given as THRESHER_SECTION_KEY in the environment; secrets only there.",
    )
    parser.add_argument("--config", type=Path, help="configuration file (default: $THRESHER_CONFIG, else ./thresher.toml if there)")
    arguments = parser.parse_args(argv)
    try:
        assert_own_packages(name, "common")
        settings = load_settings(arguments.config)
        configure_logging(settings.log, name)
        # What the modules hold stays for ever: looking through it for garbage stops the service for a tenth of a second now and then.
        gc.collect()
        gc.freeze()
        uvloop.run(_until_signal(settings, serve))
    except ConfigurationError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIGURATION
    except KeyboardInterrupt:
        return 130
    return 0


async def _until_signal(settings: Settings, serve: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)
