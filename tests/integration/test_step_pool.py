"""Steps that are forked: what they get, how they end, what is left of them, and what becomes of them when their server is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from common.config import GraphSettings, Settings
from common.errors import ConfigurationError, ErrorKind, TemporaryError
from common.graph import StepPool
from common.graph import pool as pool_module
from common.graph.serving import serve_graphs
from common.graph.sessions import OverMemoryError, members, memory_of

STEPS = {
    "talk": """
        import os, sys
        def main(argv):
            print(sys.argv[1:] == argv, os.getcwd(), os.getpid() == os.getsid(0) == os.getpgrp(), __name__)
            print("to stderr", file=sys.stderr)
            for argument in argv:
                print(argument)
    """,
    "leave": """
        import sys
        def main(argv):
            kind, = argv
            if kind == "code": return 7
            if kind == "text": sys.exit("FATAL ERROR: gone")
            if kind == "exit": sys.exit(300)
            if kind == "raise": raise ValueError("broken")
            if kind == "thread":
                import atexit, threading, time
                atexit.register(print, "last words")
                threading.Thread(target=lambda: (time.sleep(0.1), print("thread done"))).start()
            if kind == "crash": __import__("ctypes").string_at(0)
    """,
    "spawn": """
        import os, subprocess, sys, time
        def main(argv):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            open("pids.part", "w").write(f"{os.getpid()} {child.pid}")
            os.rename("pids.part", "pids")
            if argv: time.sleep(600)
    """,
    "eat": """
        import time
        def main(argv):
            eaten = [bytearray(b"x" * 2**20) for _ in range(int(argv[0]))]
            print(len(eaten), flush=True)
            time.sleep(float(argv[1]))
    """,
    "draw": """
        import random
        import numpy
        def main(argv):
            print(random.random(), numpy.random.random())
    """,
    "look": """
        import os, sys
        def main(argv):
            print(sorted(key for key in os.environ if "SECRET" in key), os.environ["PLAIN"])
            print(b"SECRET" in open("/proc/self/environ", "rb").read())
            print(len(os.listdir("/proc/self/task")), sorted(os.listdir("/proc/self/fd")))
    """,
    "broken": "import no_such_module_anywhere",
    "_private": "raise SystemExit('a private module was loaded')",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of steps `fork_steps`."""
    folder = tmp_path_factory.mktemp("steps") / "fork_steps"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, text in STEPS.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder.parent


@pytest.fixture(scope="module")
def pool(package: Path) -> Iterator[StepPool]:
    """One for all: also after it was killed it must be as good as new."""
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONUNBUFFERED": "1", "PLAIN": "seen"}
    pool = StepPool(["fork_steps", "no_such_package"], environment)
    yield pool
    asyncio.run(pool.__aexit__())


async def run(
    pool: StepPool, workdir: Path, step: str, *arguments: str, timeout_s: float = 60, memory_mb: int = 0
) -> tuple[int, list[str]]:
    lines: list[str] = []
    code = await pool.run(
        f"fork_steps.{step}",
        arguments,
        workdir=workdir,
        timeout_s=timeout_s,
        on_line=lines.append,
        memory_bytes=memory_mb * 2**20 or None,
    )
    return code, lines


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def pids(workdir: Path) -> list[int]:
    for _ in range(1500):
        with contextlib.suppress(FileNotFoundError):
            return [int(text) for text in (workdir / "pids").read_text().split()]
        await asyncio.sleep(0.02)
    raise AssertionError("the step does not start")


async def gone(numbers: list[int]) -> bool:
    for _ in range(500):
        if not any(map(is_alive, numbers)):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_step_gets_arguments_folder_session_and_output(pool: StepPool, tmp_path: Path) -> None:
    here = Path.cwd()
    odd = ["--a=$(id) 'x' \"*\"", "--long=" + "y" * 300_000]
    code, lines = await run(pool, tmp_path, "talk", *odd)
    assert (code, lines[:3]) == (0, [f"True {tmp_path} True fork_steps.talk", "to stderr", odd[0]])
    assert "".join(lines[3:]) == odd[1]
    assert Path.cwd() == here


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("code", 7, []),
        ("text", 1, ["FATAL ERROR: gone"]),
        ("exit", 44, []),
        ("thread", 0, ["thread done", "last words"]),
        ("crash", -signal.SIGSEGV, []),
    ],
)
async def test_how_steps_end(pool: StepPool, tmp_path: Path, how: str, code: int, said: list[str]) -> None:
    assert await run(pool, tmp_path, "leave", how) == (code, said)


async def test_a_traceback_is_told(pool: StepPool, tmp_path: Path) -> None:
    code, lines = await run(pool, tmp_path, "leave", "raise")
    assert code == 1
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "ValueError: broken")
    code, lines = await run(pool, tmp_path, "broken")
    assert (code, lines[-1]) == (1, "ModuleNotFoundError: No module named 'no_such_module_anywhere'")
    code, lines = await run(pool, tmp_path / "nowhere", "talk")
    assert (code, lines[-1].split(":")[0]) == (1, "FileNotFoundError")


async def test_secrets_threads_and_descriptors_stay_behind(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hush")
    environment = {"PYTHONPATH": str(package), "PLAIN": "seen", "PATH": os.environ["PATH"]}
    async with StepPool(["fork_steps"], environment) as pool:
        _, lines = await run(pool, tmp_path, "look")
    # Standard streams, the order, and the listing itself.
    assert lines[:2] == ["[] seen", "False"]
    assert lines[2].startswith("1 ['0', '1', '2', ")
    assert lines[2].count("'") <= 2 * 5


async def test_steps_do_not_draw_the_same_numbers(pool: StepPool, tmp_path: Path) -> None:
    drawn = [(await run(pool, tmp_path, "draw"))[1][0].split() for _ in range(3)]
    assert len({first for first, _ in drawn}) == len({second for _, second in drawn}) == 3


async def test_many_at_once_and_no_descriptor_left(pool: StepPool, tmp_path: Path) -> None:
    await run(pool, tmp_path, "talk")

    async def one(index: int) -> str:
        folder = tmp_path / str(index)
        folder.mkdir()
        return (await run(pool, folder, "talk", str(index)))[1][-1]

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert await asyncio.gather(*map(one, range(12))) == [str(index) for index in range(12)]
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
    # Standard streams, control socket, selector. A step is told of before its socket is closed.
    while len(os.listdir(f"/proc/{pool.server_pid}/fd")) > 5:  # noqa: PTH208
        await asyncio.sleep(0.01)


async def test_what_a_step_leaves_running_is_killed(pool: StepPool, tmp_path: Path) -> None:
    assert (await run(pool, tmp_path, "spawn"))[0] == 0
    assert await gone(await pids(tmp_path))


async def test_too_long_and_cancelled_steps_are_killed_with_their_children(pool: StepPool, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        await run(pool, tmp_path, "spawn", "wait", timeout_s=2)
    assert await gone(await pids(tmp_path))
    (tmp_path / "pids").unlink()
    task = asyncio.create_task(run(pool, tmp_path, "spawn", "wait"))
    started = await pids(tmp_path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(started[0]), "it is gone when the cancellation is through, so that its folder can be removed"
    assert await gone(started)


async def test_cancelling_at_any_moment_leaves_nothing(pool: StepPool, tmp_path: Path) -> None:
    await run(pool, tmp_path, "talk")
    assert pool.server_pid is not None
    children = Path(f"/proc/{pool.server_pid}/task/{pool.server_pid}/children")
    for delay in (0, 0.001, 0.003, 0.01, 0.03):
        task = asyncio.create_task(run(pool, tmp_path, "spawn", "wait"))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert children.read_text() == ""


async def test_memory_of_the_whole_session_is_watched(pool: StepPool, tmp_path: Path) -> None:
    with pytest.raises(OverMemoryError, match="of 100 MB"):
        await run(pool, tmp_path, "eat", "160", "60", memory_mb=100)
    assert (await run(pool, tmp_path, "eat", "60", "0.5", memory_mb=100)) == (0, ["60"]), "what it shares with its server hardly counts"
    assert memory_of(os.getsid(0)) > 2**20
    assert os.getpid() in members(os.getsid(0))


async def test_a_killed_server_takes_its_steps_with_it_and_is_replaced(pool: StepPool, tmp_path: Path) -> None:
    task = asyncio.create_task(run(pool, tmp_path, "spawn", "wait"))
    step, child = await pids(tmp_path)
    first = pool.server_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(TemporaryError, match="was killed, and the step with it") as caught:
        await task
    assert caught.value.kind is ErrorKind.TEMPORARY
    assert await gone([step, child])
    assert (await run(pool, tmp_path, "leave", "code"))[0] == 7
    assert pool.server_pid != first


async def test_a_server_that_stands_still_is_given_up(pool: StepPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_ANSWER_S", 0.5)
    await pool.load()
    assert pool.server_pid is not None
    os.kill(pool.server_pid, signal.SIGSTOP)
    with pytest.raises(TemporaryError, match="did not answer"):
        await run(pool, tmp_path, "talk")
    monkeypatch.undo()
    assert (await run(pool, tmp_path, "talk"))[0] == 0


async def test_what_all_steps_need_must_load(package: Path, tmp_path: Path) -> None:
    broken = tmp_path / "numpy"
    broken.mkdir()
    (broken / "__init__.py").write_text("raise ImportError('built for another machine')")
    async with StepPool([], {"PYTHONPATH": str(tmp_path)}) as pool:
        with pytest.raises(ConfigurationError, match=r"numpy cannot be loaded \(ImportError: built for another machine\)"):
            await pool.load()
    async with StepPool(["fork_steps"], {"PYTHONPATH": str(package)}) as pool:
        await pool.load()


WORKER = """
import asyncio, os, sys
from pathlib import Path
from common.graph import StepPool
async def main():
    async with StepPool(["fork_steps"], dict(os.environ)) as pool:
        await pool.run("fork_steps.spawn", ["wait"], workdir=Path(sys.argv[1]), timeout_s=60, on_line=print)
asyncio.run(main())
"""


async def test_server_and_steps_die_with_their_worker(package: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])}
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, str(tmp_path), env=environment)
    step, child = await pids(tmp_path)
    server = int(Path(f"/proc/{step}/stat").read_text().rpartition(")")[2].split()[1])
    worker.kill()
    await worker.wait()
    try:
        assert await gone([server, step])
    finally:
        os.kill(child, signal.SIGKILL)


def test_beside_uvloop_and_threads(package: Path, tmp_path: Path) -> None:
    """The loop services run on, its threads busy: what a fork of this very process could not stand."""

    async def main() -> list[int]:
        async with StepPool(["fork_steps"], {**os.environ, "PYTHONPATH": str(package)}) as pool:
            busy = [asyncio.create_task(asyncio.to_thread(sum, range(3_000_000))) for _ in range(4)]
            codes = [(await run(pool, tmp_path, "leave", "code"))[0] for _ in range(10)]
            await asyncio.gather(*busy)
            return codes

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [7] * 10


def test_settings_have_no_limit_by_default() -> None:
    assert (GraphSettings().step_memory_mb, GraphSettings().memory_classes) == (0, {})


async def test_a_worker_without_forks_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[StepPool | None] = []

    async def serve(pool: StepPool | None) -> None:
        given.append(pool)

    await serve_graphs(Settings(), ["processor.steps"], serve, preload=False)
    monkeypatch.delattr(os, "pidfd_open")
    await serve_graphs(Settings(), ["processor.steps"], serve)
    assert isinstance(given[0], StepPool)
    assert given[1] is None


async def test_a_worker_ends_where_its_steps_cannot_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rasterio.py").write_text("raise ImportError('no GDAL')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="rasterio cannot be loaded"):
        await serve_graphs(Settings(), [], lambda _: asyncio.sleep(600))
