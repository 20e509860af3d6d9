"""The `docker` engine: a step is a container, run by the command line of docker or podman.

Runtime and its global options are configuration. The working directory is mounted under its own path and is the current directory; other
folders only read-only. Of our environment a container gets what the white list names, never by value on a command line.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from common.errors import ConfigurationError, ErrorKind
from common.graph import launcher
from common.graph.document import EngineName
from common.graph.invocation import Invocation, StepCall, Surroundings
from common.step_settings import ContainerSettings

_LABEL = "thresher.step"
_OWN_VARIABLES = "THRESHER_"
_RUNTIME_FAILED = 125
_NOT_EXECUTABLE = (126, 127)
_NO_IMAGE = ("manifest unknown", "no such image", "image not known", "invalid reference", "denied", "unauthorized", "requested access")
"""What makes a pull useless however often it is tried."""
_ASK_S = 30.0


class DockerEngine:
    """An image, run as a container with the step's arguments."""

    name = EngineName.DOCKER

    def invocation(self, call: StepCall, around: Surroundings) -> Invocation:
        settings = around.containers
        runtime, missing = _runtime(settings)
        name = f"thresher-{_owner()}-{uuid.uuid4().hex}"
        memory_mb = call.memory_mb or settings.memory_mb
        options = [
            "run",
            "--rm",
            f"--name={name}",
            f"--label={_LABEL}",
            f"--pull={settings.pull}",
            f"--workdir={call.workdir}",
            f"--volume={call.workdir}:{call.workdir}",
            *(f"--volume={volume}:{volume}:ro" for volume in settings.volumes),
            *(f"--env={variable}" for variable in passed_variables(settings.envs, call.envs, around.environment())),
            *([f"--memory={memory_mb}m"] if memory_mb else []),
            *([f"--cpus={settings.cpus:g}"] if settings.cpus else []),
            *settings.options,
        ]
        shown = (*runtime, *options, call.step.command, *call.options)
        return Invocation(
            (sys.executable, "-I", "-S", launcher.__file__, "command", *shown),
            shown,
            container_failure,
            environment=_login(settings),
            afterwards=((*runtime, "kill", "--signal=KILL", name), (*runtime, "rm", "--force", name)),
            missing=missing,
            exit_kind=_exit_kind,
        )


def container_failure(line: str) -> ErrorKind | None:
    if "FATAL ERROR:" in line:
        return ErrorKind.FATAL
    if "TEMPORARY ERROR:" in line:
        return ErrorKind.TEMPORARY
    return ErrorKind.ERROR if line.lstrip().startswith("ERROR") or "ERROR:" in line else None


def passed_variables(allowed: Sequence[str], envs: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The variables a container gets: by name those of `environment` that a pattern of `allowed` fits, `NAME=value` what the graph gives.

    The runtime itself sees nothing of the graph's: it could be led astray. A graph's entry without a value asks for nothing that is not
    allowed anyhow.
    """
    given = [entry for entry in envs if "=" in entry and not entry.startswith(_OWN_VARIABLES)]
    names = {entry.partition("=")[0] for entry in given}
    return [*(name for name in environment if name not in names and _fits(name, allowed)), *given]


def check_containers(settings: ContainerSettings) -> str:
    """What the runtime says of itself; raises ConfigurationError where it is not there or does not answer.

    Containers that a worker of this machine left running when it was killed are removed.
    """
    runtime, missing = _runtime(settings)
    if missing:
        raise ConfigurationError(missing)
    _ = _login(settings)
    version = _asked(runtime, "version")
    for name in _left_behind(_asked(runtime, "ps", "--all", f"--filter=label={_LABEL}", "--format={{.Names}}").split()):
        with contextlib.suppress(ConfigurationError):
            _asked(runtime, "rm", "--force", name)
    return " ".join(version.split()[:8])


def _runtime(settings: ContainerSettings) -> tuple[tuple[str, ...], str]:
    """Its command line, and why it cannot be executed."""
    path = shutil.which(settings.runtime[0])
    missing = "" if path else f"the container runtime '{settings.runtime[0]}' is not there (containers.runtime)"
    return (path or settings.runtime[0], *settings.runtime[1:]), missing


def _asked(runtime: Sequence[str], *question: str) -> str:
    try:
        answer = subprocess.run(
            [*runtime, *question], capture_output=True, text=True, timeout=_ASK_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"containers.runtime: {error}") from None
    if answer.returncode:
        last = " ".join(answer.stderr.split()[-40:])
        raise ConfigurationError(f"containers.runtime: '{' '.join([*runtime, *question])}' failed: {last}")
    return answer.stdout


def _owner() -> str:
    return f"{socket.gethostname().replace('-', '_')}-{os.getpid()}"


def _left_behind(names: Sequence[str]) -> Iterator[str]:
    """Those whose worker, on this machine, runs no more; one with our own process id was before us."""
    for name in names:
        _, host, pid, _ = [*name.split("-"), "", "", ""][:4]
        if host == _owner().split("-")[0] and pid.isdigit() and (int(pid) == os.getpid() or not Path(f"/proc/{pid}").exists()):
            yield name


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return not name.startswith(_OWN_VARIABLES) and any(fnmatchcase(name, pattern) for pattern in patterns)


def _exit_kind(code: int, text: str) -> ErrorKind | None:
    if code == _RUNTIME_FAILED:
        return ErrorKind.ERROR if any(word in text.lower() for word in _NO_IMAGE) else ErrorKind.TEMPORARY
    return ErrorKind.FATAL if code in _NOT_EXECUTABLE else None


def _login(settings: ContainerSettings) -> dict[str, str]:
    """Where the runtime finds the account of the registry: a file only we can read; nothing of it stands on a command line."""
    if not settings.registry or not settings.password:
        return {}
    account = base64.b64encode(f"{settings.username}:{_secret(settings.password)}".encode()).decode()
    server = settings.registry.removeprefix("https://").rstrip("/")
    file = Path(_private_folder().name) / "config.json"
    part = file.with_name(f"{uuid.uuid4().hex}.part")
    part.touch(mode=0o600)
    part.write_text(json.dumps({"auths": {server: {"auth": account}}}))
    part.replace(file)
    return {"DOCKER_CONFIG": str(file.parent), "REGISTRY_AUTH_FILE": str(file)}


@lru_cache(maxsize=1)
def _private_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="thresher-registry-")


def _secret(place: str) -> str:
    scheme, _, rest = place.partition(":")
    try:
        return os.environ[rest] if scheme == "env" else Path(rest).read_text().strip()
    except KeyError:
        raise ConfigurationError(f"containers.password: the variable {rest} is not set") from None
    except OSError as error:
        raise ConfigurationError(f"containers.password: {rest}: {error.strerror}") from None
