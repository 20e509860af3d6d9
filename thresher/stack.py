"""`thresher up`: the whole of Thresher on one machine.

The three services, with a PostgreSQL and a NATS of their own unless others are configured.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from common.config import Settings, load_settings
from common.errors import ConfigurationError, ThresherError
from common.identity import assert_own_packages, own_root
from thresher.embedded.endpoint import LOOPBACK, free_port, is_free
from thresher.embedded.keys import demo_user, sealing_keys
from thresher.embedded.lock import locked
from thresher.embedded.nats import NatsServer
from thresher.embedded.postgres import PostgresServer
from thresher.embedded.process import Part, StopPlan, end_predecessors
from thresher.embedded.service import ServicePart
from thresher.embedded.supervisor import Supervisor

_ANY_HOST = {"0.0.0.0", "::", ""}  # noqa: S104 - recognised, not bound
_LOOPBACK_HOSTS = {LOOPBACK, "localhost", "::1"}
_SPARE_GRACE_S = 5.0
"""More than the services give themselves on SIGTERM."""
_CATALOGUE_ONLY = ("THRESHER_DATABASE_URL", "THRESHER_SERVER_TOKEN", "THRESHER_AUTH_TOKENS", "THRESHER_AUTH_ISSUERS")
"""Workers have no business with them."""


@dataclass(frozen=True)
class ServiceSpec:
    """A service of the stack."""

    name: str
    is_catalogue: bool = False
    """It has the database and serves the API; the others are workers."""
    module: str = ""
    """Run with `python -m`; default: the name."""


SERVICES = (ServiceSpec("catalogue", is_catalogue=True), ServiceSpec("downloader"), ServiceSpec("processor"))


@dataclass(frozen=True)
class UpOptions:
    """What a person can choose on the command line."""

    data_dir: Path = Path(".thresher")
    port: int | None = None
    """Of the API. 0: any free one; None: as configured."""
    storage: str | None = None
    """Folder or URI. None: as configured, else `storage` in the data directory."""
    config: Path | None = None
    demo_auth: bool = False
    """Have people log in, at a token endpoint of the stack's own."""
    verbose: bool = False
    """Also show what the parts write to their logs."""
    services: Sequence[ServiceSpec] = field(default=SERVICES)


def up(options: UpOptions) -> int:
    """Run the stack until SIGINT or SIGTERM; the exit code. From the main thread of its process.

    Prints `ready URL` on a line of its own, on standard output, when everything answers; all else goes to standard error.
    """
    try:
        assert_own_packages("thresher", "common")
        settings = load_settings(options.config)
        data_dir = options.data_dir.absolute()
        data_dir.mkdir(parents=True, exist_ok=True)
        with locked(data_dir):
            return _run(options, settings, data_dir)
    except (ThresherError, OSError) as error:
        _say(str(error))
        return 1


def _run(options: UpOptions, settings: Settings, data_dir: Path) -> int:
    label = f"thresher-stack-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]}"
    end_predecessors(label, "a service", StopPlan(((signal.SIGTERM, 10.0),)))
    servers: list[Part] = []
    database_url, nats_url = settings.database.url, settings.nats.url
    if not database_url:
        postgres = PostgresServer(data_dir)
        servers.append(postgres)
        database_url = postgres.url
        if not postgres.home.folder.is_relative_to(data_dir.resolve()):
            _say(f"PostgreSQL cannot use {data_dir} as the user it runs as; its data are in {postgres.home.folder}")
    if not nats_url:
        nats = NatsServer(data_dir)
        servers.append(nats)
        nats_url = nats.url
    host, port = settings.server.host, _port(options, settings)
    shared = {**_environment(options), "THRESHER_NATS_URL": nats_url, "THRESHER_STORAGE": _storage(options, settings, data_dir)}
    if settings.secrets.keys is None and settings.secrets.keys_file is None:
        shared["THRESHER_SECRETS_KEYS_FILE"] = str(sealing_keys(data_dir))
    of_catalogue = {"THRESHER_DATABASE_URL": database_url, "THRESHER_SERVER_HOST": host, "THRESHER_SERVER_PORT": str(port)}
    if options.demo_auth:
        of_catalogue["THRESHER_AUTH_DEMO_FOLDER"] = str(_demo_auth(data_dir, host))
    of_workers = {key: value for key, value in shared.items() if key not in _CATALOGUE_ONLY}
    services: list[Part] = []
    for spec in options.services:
        if spec.is_catalogue:
            place, own = (_reachable(host), port), {**shared, **of_catalogue}
        else:
            place = (LOOPBACK, free_port())
            own = {**of_workers, "THRESHER_WORKER_HTTP_PORT": str(place[1])}
        services.append(ServicePart(spec.name, spec.module or spec.name, own, *place, settings.worker.grace_s + _SPARE_GRACE_S, label))
    logs = data_dir / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    _say(f"starting; data in {data_dir}, logs in {logs}")
    url = f"http://{_bracketed(_reachable(host))}:{port}"
    supervisor = Supervisor([servers, services], logs, report=_say, follow=options.verbose)
    return supervisor.run(lambda: print(f"ready {url}", flush=True))


def _demo_auth(data_dir: Path, host: str) -> Path:
    if host not in _LOOPBACK_HOSTS:
        raise ConfigurationError(f"--demo-auth is for this machine alone: server.host must be 127.0.0.1, not {host}")
    folder = data_dir / "auth"
    user = demo_user(folder)
    _say(f"log in as user {user.username} with password {user.password}")
    return folder


def _environment(options: UpOptions) -> dict[str, str]:
    """Ours, completed with what every service needs to find the same code and configuration."""
    environment = dict(os.environ)
    if options.config is not None:
        environment["THRESHER_CONFIG"] = str(options.config.absolute())
    try:
        distribution("thresher")
    except PackageNotFoundError:
        # Run from a bare checkout, which `python -P` would not search.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(own_root()), os.environ.get("PYTHONPATH")]))
    return environment


def _port(options: UpOptions, settings: Settings) -> int:
    port = settings.server.port if options.port is None else options.port
    if port == 0:
        return free_port()
    if not is_free(port, settings.server.host):
        raise ConfigurationError(
            f"port {port} of {settings.server.host} cannot be used, something listens there: choose another with --port, or 0"
        )
    return port


def _storage(options: UpOptions, settings: Settings, data_dir: Path) -> str:
    storage = options.storage or settings.storage or str(data_dir / "storage")
    return storage if "://" in storage else str(Path(storage).absolute())


def _reachable(host: str) -> str:
    return LOOPBACK if host in _ANY_HOST else host


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be listening any more
        print(f"thresher up: {text}", file=sys.stderr, flush=True)
