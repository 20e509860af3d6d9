"""Graphs that really run: scripts in processes of their own, their output, their failures, and nothing left of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.config import GraphSettings
from common.errors import ErrorKind
from common.graph import GraphOutcome, GraphTiles, StepSources, Surroundings, load_graph, run_graph
from common.graph.document import Action
from common.messages import SceneRef, TileRef

SCENE = SceneRef(id=1, source_id="S2A_X", aoi="a", date=datetime(2022, 1, 4, tzinfo=UTC))
TILES = GraphTiles(TileRef(id=1, source_id="T1", scene=SCENE))


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    folder = tmp_path / "graphs"
    folder.mkdir()
    return folder


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    folder = tmp_path / "work dir"
    folder.mkdir()
    return folder


async def run(
    graphs: Path, workdir: Path, *scripts: str, engine: str = "python", timeout_s: float = 30, retriable: bool = True, **document: Any
) -> GraphOutcome:
    """Run a graph whose steps are these scripts, each with the arguments of `args`."""
    args = document.pop("args", {})
    steps = []
    for index, script in enumerate(scripts):
        path = graphs / f"step{index}.py"
        path.write_text(script)
        path.chmod(0o755)
        steps.append({"engine": engine, "command": path.name, "args": args})
    (graphs / "G.json").write_text(json.dumps({"processing_steps": steps, **document}))
    return await run_graph(
        load_graph("G", [graphs]),
        config={"b": "payload", "workdir": "/", "substitution": "$(touch taken); `touch taken`"},
        tiles=TILES,
        workdir=workdir,
        is_retriable=retriable,
        progress=lambda *_: None,
        around=Surroundings(StepSources(folders=(graphs,)), GraphSettings(step_timeout_s=timeout_s)),
    )


async def test_steps_get_their_arguments_and_run_in_the_working_directory(graphs: Path, workdir: Path) -> None:
    before = Path.cwd()
    outcome = await run(
        graphs,
        workdir,
        "import os, sys; open('20220104_T1_a.tif', 'w').write(os.getcwd())\nfor a in sys.argv[1:]: print(a)",
        "import os; print(open('20220104_T1_a.tif').read(), __name__)",
        config={"a": "graph", "b": "graph"},
        args={
            "a": {"type": "config", "value": "a"},
            "b": {"type": "config", "value": "b"},
            "workdir": {"type": "config", "value": "workdir"},
            "odd": {"type": "fixed", "value": "; id > x & 'x' \" * ~ $HOME"},
            "substitution": {"type": "config", "value": "substitution"},
            "out": {"type": "out", "layer": "a", "extension": "tif"},
        },
        out_files=[[{"layer": "a", "extension": "tif", "action": "to_create", "condition": "file_exists"}]],
    )
    assert outcome.error is None
    assert outcome.log == [
        "--a=graph",
        "--b=payload",
        f"--workdir={workdir}",
        "--odd=; id > x & 'x' \" * ~ $HOME",
        "--substitution=$(touch taken); `touch taken`",
        "--out=20220104_T1_a.tif",
        f"{workdir} __main__",
    ]
    assert [handled.file.layer for handled in outcome.with_action(Action.CREATE)] == ["a"]
    assert Path.cwd() == before


@pytest.mark.parametrize(
    ("engine", "line", "kind"),
    [
        ("python", "FATAL ERROR: no such band", ErrorKind.FATAL),
        ("python", "ERROR: host timed out", ErrorKind.TEMPORARY),
        ("python", "socket.gaierror: Temporary failure in name resolution", ErrorKind.TEMPORARY),
        ("python", "ERROR: it broke", ErrorKind.ERROR),
        ("python", "TEMPORARY ERROR: not for python", ErrorKind.ERROR),
        ("python", "", ErrorKind.ERROR),
        ("cmd", "FATAL ERROR: no such band", ErrorKind.FATAL),
        ("cmd", "TEMPORARY ERROR: come back", ErrorKind.TEMPORARY),
        ("cmd", "ERROR: host timed out", ErrorKind.ERROR),
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_what_failures_say(graphs: Path, workdir: Path, engine: str, line: str, kind: ErrorKind, stream: str) -> None:
    script = f"#!/usr/bin/env python3\nimport sys\nprint({line!r}, file=sys.{stream})\nprint('the end')\nsys.exit(3)"
    outcome = await run(graphs, workdir, script, "open('second', 'w')", engine=engine)
    assert outcome.error is not None
    assert outcome.error.kind is kind
    assert str(outcome.error).startswith("step 1 (step0.py) failed with exit code 3: ")
    assert line in str(outcome.error)
    assert not (workdir / "second").exists()


async def test_words_of_failure_do_not_fail_a_step_that_ends_well(graphs: Path, workdir: Path) -> None:
    outcome = await run(graphs, workdir, "print('FATAL ERROR: just kidding')")
    assert outcome.error is None


async def test_a_failure_keeps_what_the_graph_says(graphs: Path, workdir: Path) -> None:
    files = [
        {"layer": "done", "extension": "tif", "action": "to_create"},
        {"layer": "__product__", "extension": "SAFE", "action": "to_delete", "error_condition": "on_fatal_failure"},
        {"layer": "log", "extension": "txt", "action": "to_create", "condition": "on_failure"},
    ]
    kept = [
        [handled.file.layer for handled in (await run(graphs, workdir, script, retriable=retriable, out_files=[files])).files]
        for script, retriable in (("", True), ("exit(1)", True), ("exit(1)", False), ("exit('FATAL ERROR: x')", True))
    ]
    assert kept == [["done", "__product__"], ["log"], ["__product__", "log"], ["__product__", "log"]]


async def test_formats_of_indexed_files(graphs: Path, workdir: Path) -> None:
    configured = {"layer": "a", "extension": "tif", "action": "to_index", "dformat_out": {"type": "config", "value": "b"}}
    outcome = await run(graphs, workdir, out_files=[[{**configured, "dformat_out": {"type": "fixed", "value": "Byte,NaN,0,9"}}]])
    assert outcome.files[0].format is not None
    assert (outcome.files[0].format.dtype, outcome.files[0].format.max_value) == ("uint8", 9)
    outcome = await run(graphs, workdir, out_files=[[configured]])
    assert outcome.files == []
    assert "dformat_out of layer 'a': 'payload' is not a format" in str(outcome.error)


async def test_nothing_runs_where_a_later_command_cannot(graphs: Path, workdir: Path) -> None:
    outcome = await run(graphs, workdir, "open('first', 'w')", args={"x": {"type": "config", "value": "missing"}})
    assert "graph 'G', step 1: argument 'x' of step0.py: 'missing' is not in the configuration" in str(outcome.error)
    steps = [{"engine": "python", "command": name} for name in ("step0.py", "gone.py")]
    outcome = await run(graphs, workdir, "open('first', 'w')", processing_steps=steps)
    assert "step 2: command gone.py of engine 'python' is not in" in str(outcome.error)
    assert os.listdir(workdir) == []  # noqa: PTH208


async def test_a_module_in_the_working_directory_is_not_imported(graphs: Path, workdir: Path) -> None:
    (workdir / "json.py").write_text("raise SystemExit('taken over')")
    (graphs / "helper.py").write_text("WORD = 'help'")
    outcome = await run(graphs, workdir, "import json, helper; print(helper.WORD)")
    assert (outcome.error, outcome.log) == (None, ["help"])


async def test_steps_do_not_see_our_configuration(graphs: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("GDAL_CACHEMAX", "77")
    outcome = await run(graphs, workdir, "import os; print([k for k in os.environ if 'THRESHER' in k], os.environ['GDAL_CACHEMAX'])")
    assert outcome.log == ["[] 77"]


async def test_output_of_any_kind(graphs: Path, workdir: Path) -> None:
    script = (
        "import sys; w = sys.stdout.buffer.write\n"
        "w(b'one\\rtwo\\n\\n\\xff\\xfe\\n'); w(b'x' * 100_000 + b'\\n'); [w(b'%d\\n' % i) for i in range(500)]; w(b'end')"
    )
    outcome = await run(graphs, workdir, script)
    assert outcome.error is None
    assert len(outcome.log) == 100
    assert outcome.log[-2:] == ["499", "end"]


SPAWNING = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("pids.part", "w").write(f"{os.getpid()} {child.pid}")
os.rename("pids.part", "pids")
"""


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def numbers(path: Path) -> list[int]:
    """What a step wrote into `path`, once it is there."""
    for _ in range(1500):
        with contextlib.suppress(FileNotFoundError), open(path) as file:  # noqa: ASYNC230, PTH123 - a line of text
            return [int(number) for number in file.read().split()]
        await asyncio.sleep(0.02)
    raise AssertionError(f"{path.name} does not appear")


async def gone(pids: list[int]) -> bool:
    for _ in range(500):
        if not any(alive(pid) for pid in pids):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_step_that_takes_too_long_is_killed_with_its_children(graphs: Path, workdir: Path) -> None:
    outcome = await run(graphs, workdir, SPAWNING + "print('waiting', flush=True); time.sleep(600)", timeout_s=3)
    assert outcome.error is not None
    assert outcome.error.kind is ErrorKind.ERROR
    assert "step 1 (step0.py) took longer than 3 s and was stopped: waiting" in str(outcome.error)
    assert await gone(await numbers(workdir / "pids"))


async def test_what_a_step_leaves_running_is_killed(graphs: Path, workdir: Path) -> None:
    outcome = await run(graphs, workdir, SPAWNING)
    assert outcome.error is None
    assert await gone(await numbers(workdir / "pids"))


async def test_cancelling_kills_the_step_and_its_children(graphs: Path, workdir: Path) -> None:
    task = asyncio.create_task(run(graphs, workdir, SPAWNING + "time.sleep(600)"))
    pids = await numbers(workdir / "pids")
    assert all(alive(pid) for pid in pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pids[0])
    assert await gone(pids)


async def test_cancelling_at_once_leaves_nothing(graphs: Path, workdir: Path) -> None:
    for delay in (0, 0.001, 0.005, 0.02):
        task = asyncio.create_task(run(graphs, workdir, SPAWNING + "time.sleep(600)"))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await gone(running(str(graphs)))


def running(word: str) -> list[int]:
    """The processes whose command line holds `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


async def test_a_killed_step_is_told(graphs: Path, workdir: Path) -> None:
    outcome = await run(graphs, workdir, f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    assert "was killed by SIGKILL (is there enough memory?)" in str(outcome.error)


async def test_several_at_once(graphs: Path, workdir: Path) -> None:
    async def one(index: int) -> GraphOutcome:
        folder, own = graphs / str(index), workdir / str(index)
        folder.mkdir()
        own.mkdir()
        return await run(folder, own, f"import time, os; time.sleep(0.2); print({index}, os.path.basename(os.getcwd()))")

    outcomes = await asyncio.gather(*(one(index) for index in range(6)))
    assert [outcome.log for outcome in outcomes] == [[f"{index} {index}"] for index in range(6)]


async def test_no_descriptors_leak(graphs: Path, workdir: Path) -> None:
    await run(graphs, workdir, "print('warm')")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        await run(graphs, workdir, "print('x')")
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


WORKER = """
import asyncio, sys
from pathlib import Path
from common.graph import launcher
from common.graph.processes import run_process
command = [sys.executable, "-P", launcher.__file__, "script", sys.argv[1]]
asyncio.run(run_process(command, workdir=Path(sys.argv[2]), environment={}, timeout_s=60, on_line=print))
"""


async def test_steps_die_with_their_worker(graphs: Path, workdir: Path) -> None:
    (graphs / "step.py").write_text(SPAWNING + "time.sleep(600)")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = ["-c", WORKER, str(graphs / "step.py"), str(workdir)]
    worker = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    step, child = await numbers(workdir / "pids")
    worker.kill()
    await worker.wait()
    try:
        assert await gone([step])
    finally:
        os.kill(child, signal.SIGKILL)
