"""`thresher up` as a person meets it: started, killed in every way, started again, from odd places, as root and as an ordinary user.

Most tests run small services that stand in for the real ones, as what is tested is the stack around them; the last ones run the real ones.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import asyncpg
import nats
import pytest
from nats.js.api import StreamConfig

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 60.0
STAND_INS = ("stand_in_catalogue", "stand_in_downloader")

REAL = ("catalogue", "downloader", "processor")
EVERYTHING = ("postgres", "nats-server", *STAND_INS)

DRIVER = """
import os, sys
from pathlib import Path
from thresher.stack import SERVICES, ServiceSpec, UpOptions, up

data_dir, port, *modules = sys.argv[1:]
services = [ServiceSpec(name=module, is_catalogue=module.endswith("catalogue")) for module in modules] or SERVICES
sys.exit(up(UpOptions(data_dir=Path(data_dir), port=int(port), services=services, verbose="VERBOSE" in os.environ)))
"""

STAND_IN = """
import http.server, json, os, signal, subprocess, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = {name: os.environ.get(name) for name in ("THRESHER_DATABASE_URL", "THRESHER_NATS_URL", "THRESHER_STORAGE")}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"pid": os.getpid(), "grandchild": grandchild.pid, "cwd": os.getcwd(), **told}).encode())

    def log_message(self, *arguments):
        pass

# In a session of its own and deaf to a polite end: it is the supervisor that must see to it.
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
grandchild = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
signal.signal(signal.SIGTERM, lambda *arguments: sys.exit(0))
port = int(os.environ.get("THRESHER_WORKER_HTTP_PORT") or os.environ["THRESHER_SERVER_PORT"])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class Stack:
    """A `thresher up` in a process of its own."""

    def __init__(
        self, data_dir: Path, modules: Sequence[str] = (), *, user: pwd.struct_passwd | None = None, python: str = sys.executable
    ) -> None:
        self.data_dir = data_dir
        self.modules = modules
        self._user = user
        self._python = python
        self._tag = uuid.uuid4().hex
        self.process: subprocess.Popen[str] | None = None
        self._listeners: list[threading.Thread] = []
        self._printed: list[str] = []
        self._said: list[str] = []

    def start(
        self, *, port: int = 0, cwd: Path | None = None, path: Sequence[Path] = (), environment: dict[str, str] | None = None
    ) -> Stack:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("THRESHER_")}
        # The packages installed here, also for another Python of the same version.
        search = [*map(str, (*path, REPOSITORY)), *(place for place in sys.path if place.endswith("site-packages"))]
        # Without a user of their own they would run as root, in whose folders another user has no business.
        as_user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []} if self._user else {}
        self.process = subprocess.Popen(
            [self._python, "-P", "-B", "-c", DRIVER, str(self.data_dir), str(port), *self.modules],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd or self.data_dir.parent,
            env={**inherited, "PYTHONPATH": os.pathsep.join(search), "THRESHER_TEST_TAG": self._tag, **(environment or {})},
            **as_user,
        )
        self._printed, self._said = [], []
        streams = ((self.process.stdout, self._printed), (self.process.stderr, self._said))
        self._listeners = [threading.Thread(target=listen, args=pair) for pair in streams]
        for listener in self._listeners:
            listener.start()
        return self

    @property
    def said(self) -> str:
        return "".join(self._said)

    @property
    def story(self) -> str:
        """For a failed test: what it said, and the ends of the logs."""
        logs = {log.name: log.read_text(errors="replace")[-1500:] for log in sorted((self.data_dir / "logs").glob("*.log"))}
        return "\n".join([self.said, *(f"--- {name}\n{text}" for name, text in logs.items())])

    def ready(self) -> str:
        """Its URL, once it says it is ready."""
        assert eventually(lambda: self._printed or self.process.poll() is not None), self.story
        assert self._printed, f"exit code {self.process.wait()}: {self.story}"
        assert len(self._printed) == 1
        return self._printed[0].split()[1]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Its exit code, once it has ended and said all."""
        code = self.process.wait(PATIENCE_S)
        for listener in self._listeners:
            listener.join()
        return code

    def processes(self) -> dict[int, list[str]]:
        """Command lines of all processes of this stack, by id; zombies are none."""
        marks = [f"THRESHER_TEST_TAG={self._tag}", str(self.data_dir)]
        kept = [self.data_dir / "postgres.json", self.data_dir / "nats" / "endpoint.json"]
        marks += [json.loads(file.read_text())["name"] for file in kept if file.exists()]
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes()
                    environment = (entry / "environ").read_bytes()
                except OSError:
                    continue
                if command and any(mark.encode() in command + environment for mark in marks):
                    found[int(entry.name)] = command.decode().rstrip("\0").split("\0")
        return found

    def pid_of(self, wanted: str) -> int:
        """The process of the program or of the service `wanted`."""
        return next(pid for pid, command in self.processes().items() if is_of(command, wanted))

    def runs(self, *wanted: str) -> bool:
        commands = self.processes().values()
        return all(any(is_of(command, name) for command in commands) for name in wanted)

    def gone(self) -> bool:
        return eventually(lambda: not self.processes())

    def clean_up(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.ended()


def listen(stream: IO[str], lines: list[str]) -> None:
    with stream:
        for line in stream:
            lines.append(line)  # noqa: PERF402 - seen as it comes


def is_of(command: list[str], wanted: str) -> bool:
    return command[0].endswith(f"/{wanted}") or command[1:] == ["-P", "-m", wanted]


def eventually(condition) -> bool:
    deadline = time.monotonic() + PATIENCE_S / 2
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def ask(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder every user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="thresher-up-"))
    folder.chmod(0o755)
    for name in STAND_INS:
        (folder / f"{name}.py").write_text(STAND_IN)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def stacks() -> Iterator[list[Stack]]:
    """Every stack put here is gone after the test, and what it hid elsewhere too."""
    made: list[Stack] = []
    yield made
    for stack in made:
        stack.clean_up()
        pointer = stack.data_dir / "postgres.location"
        if pointer.exists():
            shutil.rmtree(pointer.read_text().strip())


@pytest.fixture
def stack(place: Path, stacks: list[Stack]) -> Stack:
    stacks.append(Stack(place / "data", STAND_INS))
    return stacks[0]


@pytest.fixture
def someone(place: Path, stacks: list[Stack]) -> Stack:
    """A stack of an ordinary user, in a folder of theirs."""
    if os.geteuid() != 0:
        pytest.skip("already run as an ordinary user; the other tests do so too")
    user = pwd.getpwnam("nobody")
    home = place / "home of somebody"
    home.mkdir(mode=0o700)
    os.chown(home, user.pw_uid, user.pw_gid)
    search = os.pathsep.join([str(REPOSITORY), *(entry for entry in sys.path if entry.endswith("site-packages"))])
    version = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, *(f"{folder}/{version}" for folder in ("/usr/bin", "/usr/local/bin"))):
        try:
            subprocess.run(
                [python, "-P", "-B", "-c", "import thresher.stack"],
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                cwd=home,
                env={"PYTHONPATH": search},
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        stacks.append(Stack(home / "data", STAND_INS, user=user, python=python))
        return stacks[-1]
    pytest.skip("an ordinary user can run neither this Python nor one of the system with the installed packages")


def test_it_gives_each_service_what_it_needs_and_leaves_nothing_behind(stack: Stack, place: Path) -> None:
    url = stack.start(path=[place], cwd=place).ready()
    answer = ask(url)
    assert answer["cwd"] == str(place)
    assert answer["THRESHER_STORAGE"] == str(place / "data" / "storage")
    assert str(answer["THRESHER_DATABASE_URL"]).startswith("postgresql://thresher:")
    assert str(answer["THRESHER_NATS_URL"]).startswith("nats://thresher:")
    worker = stack.pid_of("stand_in_downloader")
    assert b"THRESHER_DATABASE_URL" not in Path(f"/proc/{worker}/environ").read_bytes()
    secret = str(answer["THRESHER_DATABASE_URL"]).split(":")[2].split("@")[0]
    assert not [command for command in stack.processes().values() if secret in str(command)]
    for file in (place / "data").rglob("*"):
        if file.is_file() and file.owner() == pwd.getpwuid(os.geteuid()).pw_name and secret in file.read_text(errors="ignore"):
            assert file.stat().st_mode & 0o077 == 0, f"{file} tells the password to others"
    assert stack.end(signal.SIGINT) == 0
    assert stack.processes() == {}


async def test_data_are_kept_between_starts_and_after_any_child_is_killed(stack: Stack, place: Path) -> None:
    answer = ask(stack.start(path=[place]).ready())
    connection = await asyncpg.connect(answer["THRESHER_DATABASE_URL"])
    await connection.execute("CREATE TABLE kept (value int); INSERT INTO kept VALUES (42)")
    await connection.close()
    client = await nats.connect(answer["THRESHER_NATS_URL"])
    await client.jetstream().add_stream(StreamConfig(name="KEPT", subjects=["kept"]))
    await client.jetstream().publish("kept", b"42")
    await client.close()
    for victim in EVERYTHING:
        before = stack.pid_of(victim)
        os.kill(before, signal.SIGKILL)
        assert eventually(lambda before=before: before not in stack.processes())
        # It comes back by itself; a second victim falls in the middle of that.
    assert eventually(lambda: stack.runs(*EVERYTHING)), stack.said
    assert stack.end() == 0
    again = ask(stack.start(path=[place]).ready())
    assert again["THRESHER_DATABASE_URL"] == answer["THRESHER_DATABASE_URL"]
    connection = await asyncpg.connect(again["THRESHER_DATABASE_URL"])
    assert await connection.fetchval("SELECT value FROM kept") == 42
    await connection.close()
    client = await nats.connect(again["THRESHER_NATS_URL"])
    assert (await client.jetstream().get_last_msg("KEPT", "kept")).data == b"42"
    await client.close()
    assert stack.end() == 0


@pytest.mark.parametrize("who", ["stack", "someone"])
def test_nothing_outlives_a_killed_stack_and_it_starts_again(who: str, place: Path, request: pytest.FixtureRequest) -> None:
    stack: Stack = request.getfixturevalue(who)
    answer = ask(stack.start(path=[place]).ready())
    assert int(str(answer["grandchild"])) in stack.processes()
    stack.end(signal.SIGKILL)
    # At once: what ends still ends, and is waited for.
    again = ask(stack.start(path=[place]).ready())
    assert again["pid"] != answer["pid"]
    assert int(str(answer["grandchild"])) not in stack.processes()
    stack.end(signal.SIGKILL)
    assert stack.gone(), stack.processes()


def test_a_killed_guard_takes_its_service_along(stack: Stack, place: Path) -> None:
    answer = ask(stack.start(path=[place]).ready())
    service, grandchild = int(str(answer["pid"])), int(str(answer["grandchild"]))
    guard = int(Path(f"/proc/{service}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guard, signal.SIGKILL)
    assert eventually(lambda: not {service, grandchild} & set(stack.processes()))
    assert eventually(lambda: stack.runs(*EVERYTHING))
    assert stack.end() == 0
    assert stack.processes() == {}


def test_below_a_closed_folder_whose_rights_it_leaves_alone(place: Path, stacks: list[Stack]) -> None:
    closed = place / "closed, with spaces"
    closed.mkdir(mode=0o700)
    stack = Stack(closed / "my data", STAND_INS)
    stacks.append(stack)
    stack.start(path=[place]).ready()
    assert stack.end() == 0
    stack.start(path=[place]).ready()
    assert stack.end() == 0
    assert closed.stat().st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        shelter = Path((stack.data_dir / "postgres.location").read_text().strip())
        assert str(shelter) in stack.said
        assert (shelter / "data").stat().st_mode & 0o777 == 0o700


def test_two_stacks_do_not_share_a_data_directory(stack: Stack, place: Path, stacks: list[Stack]) -> None:
    stack.start(path=[place]).ready()
    second = Stack(stack.data_dir, STAND_INS)
    stacks.append(second)
    assert second.start(path=[place]).ended() == 1
    assert f"process {stack.process.pid}" in second.said
    assert stack.end() == 0


@pytest.mark.parametrize(
    ("code", "words"), [("print('storage: not set'); sys.exit(78)", "storage: not set"), ("1 / 0", "ZeroDivisionError")]
)
def test_a_service_that_cannot_start_ends_the_stack_with_its_own_words(code: str, words: str, place: Path, stacks: list[Stack]) -> None:
    (place / "faulty.py").write_text(f"import sys\n{code}\n")
    stack = Stack(place / "data", ["faulty"])
    stacks.append(stack)
    assert stack.start(path=[place]).ended() == 1
    assert words in stack.said.splitlines()[-1]
    assert stack.processes() == {}


def test_a_second_signal_ends_it_at_once(stack: Stack, place: Path) -> None:
    deaf = STAND_IN.replace("lambda *arguments: sys.exit(0)", "lambda *arguments: open('asked', 'w').close()")
    (place / "stand_in_downloader.py").write_text(deaf)
    stack.start(path=[place], cwd=place).ready()
    stack.process.send_signal(signal.SIGINT)
    assert eventually((place / "asked").exists)
    assert stack.end(signal.SIGINT) == 130
    assert stack.processes() == {}


def test_files_of_the_current_folder_do_not_stand_in_for_ours(stack: Stack, place: Path) -> None:
    work = place / "work"
    (work / "common").mkdir(parents=True)
    (work / "common" / "__init__.py").write_text("raise SystemExit('a stranger')\n")
    for name in (*STAND_INS, "processor", "catalogue", "asyncio"):
        (work / f"{name}.py").write_text("raise SystemExit('a stranger')\n")
    assert ask(stack.start(path=[place], cwd=work).ready())["cwd"] == str(work)
    assert stack.end() == 0


def test_verbose_shows_the_logs_too(stack: Stack, place: Path) -> None:
    stack.start(path=[place], environment={"VERBOSE": "1"}).ready()
    assert eventually(lambda: "Server is ready" in stack.said)
    assert stack.end() == 0
    assert [line for line in stack.said.splitlines() if line.startswith("postgres ") and line.endswith("database system is shut down")]


def test_configured_servers_are_used_instead_of_its_own(stack: Stack, place: Path) -> None:
    urls = {
        "THRESHER_DATABASE_URL": "postgresql://elsewhere/db",
        "THRESHER_NATS_URL": "nats://elsewhere",
        "THRESHER_STORAGE": "s3://bucket/layers",
    }
    answer = ask(stack.start(path=[place], environment=urls).ready())
    assert urls.items() <= answer.items()
    assert not stack.runs("postgres")
    assert not stack.runs("nats-server")
    assert stack.end() == 0


def test_a_port_in_use_is_said(stack: Stack, place: Path, stacks: list[Stack]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert stack.start(path=[place], port=taken.getsockname()[1]).ended() == 1
    assert "--port" in stack.said


def test_a_chosen_port_is_used_again_right_after_a_kill(stack: Stack, place: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert stack.start(path=[place], port=port).ready() == f"http://127.0.0.1:{port}"
    stack.end(signal.SIGKILL)
    assert stack.start(path=[place], port=port).ready() == f"http://127.0.0.1:{port}"
    assert stack.end() == 0


def well(url: str) -> bool:
    """Whether the catalogue answers and sees its database and its broker."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_the_real_services_come_back_whichever_is_killed(place: Path, stacks: list[Stack]) -> None:
    """From a folder whose files would stand in for ours."""
    work = place / "some one's work"
    (work / "common").mkdir(parents=True)
    (work / "common" / "__init__.py").write_text("raise SystemExit('a stranger')\n")
    for name in REAL:
        (work / f"{name}.py").write_text("raise SystemExit('a stranger')\n")
    stack = Stack(work / ".thresher")
    stacks.append(stack)
    url = stack.start(cwd=work).ready()
    assert well(url)
    for victim in (*REAL, "nats-server", "postgres"):
        before = stack.pid_of(victim)
        os.kill(before, signal.SIGKILL)
        assert eventually(lambda before=before: before not in stack.processes())
    assert eventually(lambda: stack.runs(*REAL, "nats-server", "postgres") and well(url)), stack.story
    stack.end(signal.SIGKILL)
    assert well(stack.start(cwd=work).ready())
    assert stack.end() == 0
    assert stack.processes() == {}


def test_an_ordinary_user_runs_the_real_services(someone: Stack, place: Path) -> None:
    someone.modules = ()
    assert well(someone.start().ready())
    someone.end(signal.SIGKILL)
    assert someone.gone(), someone.processes()


def test_a_service_started_from_a_folder_of_strangers_runs_ours_with_p_only(tmp_path: Path) -> None:
    (tmp_path / "processor.py").write_text("print('a stranger')\n")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for options, ours in ((["-P"], True), ([], False)):
        run = subprocess.run(
            [sys.executable, *options, "-m", "processor", "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert (run.returncode, "a stranger" not in run.stdout) == (0, ours), run.stderr
