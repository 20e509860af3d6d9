"""The engines beside Python: SNAP with a program that stands in for its `gpt`, containers that really run, and who serves what."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fixtures_containers import LIMITS, ContainerRuntime

from catalogue.graphs import GraphShelf
from common.config import ContainerSettings, GraphSettings, Settings, WorkerSettings
from common.errors import ConfigurationError, ErrorKind, UserError
from common.features import TilePlace
from common.graph import GraphOutcome, GraphTiles, StepRecord, StepSources, Surroundings, load_graph, run_graph
from common.graph.containers import check_containers
from common.graph.serving import check_capabilities
from common.layers import open_layer_store
from common.messages import SceneRef, TileJob, TileRef
from common.work import JobContext, WorkReport
from processor.work import process_tile


def tile(day: int, number: int = 1) -> TileRef:
    scene = SceneRef(id=number, source_id=f"S1A_IW_SLC__1SDV_2022010{day}", aoi="a", date=datetime(2022, 1, day, tzinfo=UTC))
    return TileRef(id=number, source_id="A44_IW1_8951", scene=scene, place=TilePlace(swath_id="IW1", tile_nr=4))


CURRENT, PREVIOUS, REFERENCE = tile(9), tile(5, 2), tile(1, 3)
SERIES = GraphTiles(CURRENT, PREVIOUS, REFERENCE)


class Place:
    """A graph folder and a working directory."""

    def __init__(self, folder: Path) -> None:
        self.graphs, self.workdir = folder / "graphs", folder / "work dir"
        self.graphs.mkdir()
        self.workdir.mkdir()

    def graph(self, **document: Any) -> None:
        (self.graphs / "G.json").write_text(json.dumps(document))

    def file(self, name: str, text: str) -> Path:
        path = self.graphs / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    async def run(
        self, tiles: GraphTiles = SERIES, config: dict[str, str] | None = None, record: StepRecord | None = None, **around: Any
    ) -> GraphOutcome:
        return await run_graph(
            load_graph("G", [self.graphs]),
            config=config or {},
            tiles=tiles,
            workdir=self.workdir,
            is_retriable=True,
            progress=lambda *_: None,
            around=Surroundings(StepSources((self.graphs,), ("processor.steps",)), **around),
            record=record,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


GPT = """#!/usr/bin/env python3
import json, sys
print(json.dumps(sys.argv[1:]))
values = dict(a[2:].split("=", 1) for a in sys.argv if a.startswith("-P"))
if values.get("fail"):
    print(values["fail"], file=sys.stderr)
    sys.exit(1)
open(values["output"], "w").write(open(sys.argv[1]).read())
"""


async def test_snap_gets_what_the_reference_gives_it(place: Place) -> None:
    gpt = place.file("bin/gpt", GPT)
    xml = place.file("snap/S1_SLC_Test.xml", "<graph/>")
    place.graph(
        config={"snap_cpu_parallelism": "3", "dem_name": "SRTM 3Sec", "dem_file": ""},
        processing_steps=[
            {
                "engine": "snap",
                "command": "snap/S1_SLC_Test.xml",
                "args": {
                    "master": {"type": "in", "tile_index": 2, "layer": "preprocessed", "extension": "dim"},
                    "slave": {"type": "in", "tile_index": 1, "layer": "coregextract", "extension": "dim"},
                    "output": {"type": "out", "layer": "coregistred", "extension": "dim"},
                    "dem_name": {"type": "config", "value": "dem_name"},
                    "dem_file": {"type": "config", "value": "dem_file"},
                    "polar": {"type": "fixed", "value": '"VV VH"'},
                    "swath": {"type": "tile", "value": "swath"},
                    "burst": {"type": "tile", "value": "number"},
                    "sel_date": {"type": "tile", "value": "cohdate"},
                },
                "condition": "different_T0_T1",
            },
            {"engine": "snap", "command": "snap/S1_SLC_Test.xml", "args": {}, "condition": "equal_T0_T1"},
        ],
    )
    outcome = await place.run(graphs=GraphSettings(snap_path=gpt))
    assert outcome.error is None
    (line,) = outcome.log
    assert json.loads(line) == [
        str(xml),
        "-x",
        "-q",
        "3",
        "-J-Xmx9000m",
        "-Pmaster=20220101_A44_IW1_8951_preprocessed.dim",
        "-Pslave=20220105_A44_IW1_8951_coregextract.dim",
        "-Poutput=20220109_A44_IW1_8951_coregistred.dim",
        "-Pdem_name=SRTM 3Sec",
        "-Pdem_file=",
        '-Ppolar="VV VH"',
        "-Pswath=IW1",
        "-Pburst=4",
        "-Psel_date=01Jan2022",
    ]
    assert (place.workdir / "20220109_A44_IW1_8951_coregistred.dim").read_text() == "<graph/>"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Error: [NodeId: Write] java.net.UnknownHostException: step.esa.int: Temporary failure in name resolution", ErrorKind.TEMPORARY),
        ("Error: server busy. Try again later", ErrorKind.TEMPORARY),
        ("Error: [NodeId: Read] no product reader found", ErrorKind.ERROR),
        ("FATAL ERROR: not for SNAP", ErrorKind.ERROR),
    ],
)
async def test_what_failures_of_snap_say(place: Place, monkeypatch: pytest.MonkeyPatch, line: str, kind: ErrorKind) -> None:
    monkeypatch.setenv("SNAPPATH", str(place.file("gpt", GPT)))
    place.file("snap/x.xml", "")
    step = {"engine": "snap", "command": "snap/x.xml", "args": {"fail": {"type": "config", "value": "line"}}}
    place.graph(processing_steps=[step])
    outcome = await place.run(config={"line": line})
    assert outcome.error is not None
    assert outcome.error.kind is kind
    assert line in str(outcome.error)


async def test_settings_of_a_payload_are_no_options_of_java(place: Place) -> None:
    place.file("x.xml", "")
    place.graph(processing_steps=[{"engine": "snap", "command": "x.xml"}])
    outcome = await place.run(config={"snap_cpu_parallelism": "-J-XX:OnError=id"}, graphs=GraphSettings(snap_path=place.file("gpt", GPT)))
    assert "step 1: setting 'snap_cpu_parallelism' is '-J-XX:OnError=id', not a whole number" in str(outcome.error)


async def test_without_snap_nothing_starts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNAPPATH", "/nowhere/gpt")
    place.file("first.py", "open('first', 'w')")
    place.file("x.xml", "")
    place.graph(processing_steps=[{"engine": "python", "command": "first.py"}, {"engine": "snap", "command": "x.xml"}])
    outcome = await place.run()
    assert "graph 'G', step 2: SNAP is not there: /nowhere/gpt is no program" in str(outcome.error)
    assert outcome.error is not None
    assert outcome.error.kind is ErrorKind.FATAL
    assert not any(place.workdir.iterdir())


async def test_shipped_scripts_can_be_commands(place: Place) -> None:
    """Graphs of the reference name its Python scripts as executables, too."""
    place.graph(processing_steps=[{"engine": "cmd", "command": "python/extract_s2.py", "args": {"oops": {"type": "fixed", "value": "1"}}}])
    outcome = await place.run()
    assert "step 1 (python/extract_s2.py) failed with exit code" in str(outcome.error)
    assert "the following arguments are required: --workdir" in outcome.log[-1]


async def test_memory_of_a_step_is_limited_by_its_class(place: Place) -> None:
    place.file("eat.py", "import time; x = bytearray(b'x' * 300 * 2**20); print('full', flush=True); time.sleep(60)")
    steps = [{"engine": "python", "command": "eat.py"}]
    place.graph(processing_steps=steps, memory_class="small")
    outcome = await place.run(graphs=GraphSettings(memory_classes={"small": 100}))
    assert "step 1 (eat.py) took more memory than it may" in str(outcome.error)
    assert "MB of 100 MB) and was stopped" in str(outcome.error)
    place.graph(processing_steps=steps)
    outcome = await place.run(graphs=GraphSettings(step_memory_mb=101))
    assert "MB of 101 MB" in str(outcome.error)
    place.graph(processing_steps=steps, memory_class="large")
    outcome = await place.run(graphs=GraphSettings(memory_classes={"small": 100}))
    assert "memory class 'large' is not known here (graphs.memory_classes: small)" in str(outcome.error)


def settings(**changes: Any) -> Settings:
    return Settings(**changes)


def test_a_worker_that_cannot_serve_does_not_start(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNAPPATH", raising=False)
    gpt = place.file("gpt", "")

    def check(capability: str, **changes: Any) -> None:
        check_capabilities(settings(worker=WorkerSettings(capabilities=["python", capability]), **changes))

    check("cmd-python")
    check("python-snap", graphs=GraphSettings(snap_path=gpt))
    check("python_large", graphs=GraphSettings(memory_classes={"large": 8000}))
    for capability, complaint in (
        ("snap", "worker.capabilities has 'snap', but /usr/local/snap/bin/gpt is no program"),
        ("python_large", "has 'python_large', but graphs.memory_classes does not say what 'large' is"),
    ):
        with pytest.raises(ConfigurationError, match=complaint):
            check(capability)
    for runtime in (["no-such-runtime"], ["false"]):
        with pytest.raises(ConfigurationError, match=r"worker.capabilities has 'docker', but .*containers.runtime"):
            check("docker", containers=ContainerSettings(runtime=runtime))


def test_capabilities_are_spelled_in_one_way() -> None:
    assert WorkerSettings(capabilities=["snap-python_large", "cmd"]).capabilities == ["python-snap_large", "cmd"]
    for wrong in ("bash", "python snap", "python_", "python_A", "", "snap-"):
        with pytest.raises(ValueError, match="is no capability"):
            WorkerSettings(capabilities=[wrong])


def test_a_submit_that_needs_what_nobody_declared_is_refused(place: Place) -> None:
    place.graph(processing_steps=[{"engine": "snap", "command": "x.xml"}, {"engine": "python", "command": "a.py"}], memory_class="large")
    with pytest.raises(UserError, match=r"tile_graph_name: 'G' needs workers that can run 'python-snap_large'; .*has python, snap"):
        GraphShelf([place.graphs], ["python", "snap"]).get("G", field="tile_graph_name")
    assert GraphShelf([place.graphs], ["python-snap_large"]).get("G", field="tile_graph_name").capability == "python-snap_large"


# Containers


@pytest.fixture
def containers(container_runtime: ContainerRuntime) -> ContainerSettings:
    return ContainerSettings(runtime=container_runtime.command, options=LIMITS, pull="never")


def container(image: str, script: str = "", **document: Any) -> dict[str, Any]:
    args = {"run": {"type": "config", "value": "script"}} if script else {}
    return {"config": {"script": script}, "processing_steps": [{"engine": "docker", "command": image, "args": args}], **document}


async def test_a_custom_hook_from_product_to_stored_result(
    place: Place, tmp_path: Path, container_runtime: ContainerRuntime, containers: ContainerSettings
) -> None:
    place.graph(
        processing_steps=[
            {
                "engine": "docker",
                "command": container_runtime.image,
                "args": {
                    "input": {"type": "in", "layer": "__product__", "extension": "SAFE"},
                    "output": {"type": "out", "layer": "result", "extension": "data"},
                },
            }
        ],
        in_files=[[{"layer": "__product__", "extension": "SAFE"}]],
        out_files=[[{"layer": "result", "extension": "data", "action": "to_create"}]],
    )
    around = settings(storage=str(tmp_path / "storage"), graphs=GraphSettings(folders=[place.graphs]), containers=containers)
    store = open_layer_store("", around)
    product = tmp_path / f"{CURRENT.scene.source_id}.SAFE"
    product.mkdir()
    (product / "manifest.safe").write_text("a safe product")
    await store.save(CURRENT, "__product__", "SAFE", tmp_path)

    report = await process(around, place.workdir)
    assert report.error is None
    fetched = await store.fetch(CURRENT, "result", "data", tmp_path)
    assert (fetched / CURRENT.scene.source_id / "result.txt").read_text() == "A SAFE PRODUCT"
    log = Path(report.log).read_text()
    assert report.log.endswith(".log")
    assert f"made 20220109_A44_IW1_8951_result.data/{CURRENT.scene.source_id}" in log
    assert "exit code 0 after" in log


async def process(around: Settings, workdir: Path) -> WorkReport:
    job = TileJob(job=uuid.uuid4(), send=1, graph_name="G", tile=CURRENT)
    return await process_tile(job, JobContext(around, workdir, uuid.uuid4(), lambda *_: None))


async def test_a_container_sees_what_it_may(
    place: Place, tmp_path: Path, container_runtime: ContainerRuntime, containers: ContainerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEN_ONE", "1 2")
    monkeypatch.setenv("CLOSED_ONE", "secret")
    monkeypatch.setenv("THRESHER_SERVER_TOKEN", "secret")
    readable = tmp_path / "dem"
    readable.mkdir()
    (readable / "dem.txt").write_text("heights\n")
    script = (
        f"env; ls; cat {readable}/dem.txt; touch here; touch {readable}/there || echo read-only;"
        " cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max"
    )
    envs = ["GIVEN=by the graph", "CLOSED_ONE", "OPEN_TWO", "THRESHER_X=1"]
    place.graph(**container(container_runtime.image, script, envs=envs))
    more = {"volumes": [str(readable)], "envs": ["OPEN_*", "THRESHER_*"], "memory_mb": 64, "cpus": 0.5}
    outcome = await place.run(containers=containers.model_copy(update=more))
    assert outcome.log, outcome.error
    assert {"OPEN_ONE=1 2", "GIVEN=by the graph", "heights", "read-only", f"PWD={place.workdir}"} <= set(outcome.log)
    assert not [line for line in outcome.log if "secret" in line or "CLOSED" in line or "THRESHER" in line]
    assert (place.workdir / "here").exists()
    if outcome.log[-1].isdigit():
        assert outcome.log[-1] == str(64 * 2**20)


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        ("echo 'FATAL ERROR: no such band'; exit 1", ErrorKind.FATAL, "exit code 1: FATAL ERROR: no such band"),
        ("echo 'TEMPORARY ERROR: come back' >&2; exit 4", ErrorKind.TEMPORARY, "exit code 4: TEMPORARY ERROR: come back"),
        ("echo one; echo two; exit 5", ErrorKind.ERROR, "exit code 5: one | two"),
    ],
)
async def test_what_failures_of_containers_say(
    place: Place, container_runtime: ContainerRuntime, containers: ContainerSettings, script: str, kind: ErrorKind, said: str
) -> None:
    place.graph(**container(container_runtime.image, script))
    outcome = await place.run(containers=containers)
    assert outcome.error is not None
    assert (outcome.error.kind, said in str(outcome.error)) == (kind, True), outcome.error


async def test_images_and_runtimes_that_are_not_there(
    place: Place, container_runtime: ContainerRuntime, containers: ContainerSettings
) -> None:
    place.graph(**container("localhost/no-such-image:1"))
    outcome = await place.run(containers=containers)
    assert outcome.error is not None
    assert outcome.error.kind is ErrorKind.ERROR, "it will not come by itself"
    place.graph(**container(container_runtime.image))
    outcome = await place.run(containers=containers.model_copy(update={"options": [*LIMITS, "--entrypoint=/nothing"]}))
    assert outcome.error is not None
    assert outcome.error.kind is ErrorKind.FATAL
    outcome = await place.run(containers=ContainerSettings(runtime=["no-such-runtime"]))
    assert "the container runtime 'no-such-runtime' is not there" in str(outcome.error)


async def test_a_runtime_out_of_order_is_temporary(place: Place) -> None:
    runtime = place.file("docker", "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 125\n")
    place.graph(**container("image:1"))
    outcome = await place.run(containers=ContainerSettings(runtime=[str(runtime)]))
    assert outcome.error is not None
    assert (outcome.error.kind, str(outcome.error)[-35:]) == (ErrorKind.TEMPORARY, "Cannot connect to the Docker daemon")


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_a_container_ends_with_its_step(
    place: Place, container_runtime: ContainerRuntime, containers: ContainerSettings, how: str
) -> None:
    place.graph(**container(container_runtime.image, "touch started; sleep 600"))
    task = asyncio.create_task(place.run(containers=containers, graphs=GraphSettings(step_timeout_s=4 if how == "timeout" else 600)))
    while not (place.workdir / "started").exists():
        await asyncio.sleep(0.02)
    if how == "cancelled":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        assert "took longer than 4 s and was stopped" in str((await task).error)
    assert container_runtime.run("ps", "--all", "--quiet") == ""


def test_containers_of_a_worker_that_was_killed_are_removed(container_runtime: ContainerRuntime, containers: ContainerSettings) -> None:
    ended = subprocess.run(["true"], check=True)  # noqa: F841 - its number is free again
    host = socket.gethostname().replace("-", "_")
    names = [f"thresher-{host}-{pid}-{uuid.uuid4().hex}" for pid in (2**22 + 1, 1)]
    for name in names:
        container_runtime.run("create", f"--name={name}", "--label=thresher.step", *LIMITS, container_runtime.image)
    assert check_containers(containers)
    assert container_runtime.run("ps", "--all", "--format={{.Names}}").split() == [names[1]], "process 1 lives"
    container_runtime.run("rm", names[1])


async def test_registry_account_never_stands_on_a_command_line(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime = place.file(
        "docker", '#!/bin/sh\necho "$@"; cat "$REGISTRY_AUTH_FILE"; echo; cmp "$DOCKER_CONFIG/config.json" "$REGISTRY_AUTH_FILE"; env'
    )
    (tmp_path / "password").write_text("pass:word\n")
    place.graph(**container("registry.example.org/a/b:1", envs=["A=b", "LD_PRELOAD=/evil.so"]))
    account = {"registry": "https://registry.example.org/", "username": "user", "password": f"file:{tmp_path}/password"}
    more = {"pull": "always", "memory_mb": 500, "cpus": 1.5, "volumes": ["/data"]}
    monkeypatch.setenv("PASSWORD_ELSEWHERE", "hush")
    outcome = await place.run(containers=ContainerSettings(runtime=[str(runtime), "--log-level=error"], **account, **more))
    assert outcome.error is None
    words = outcome.log[0].split()
    assert words[:3] == ["--log-level=error", "run", "--rm"]
    assert words[-1] == "registry.example.org/a/b:1"
    assert {"--pull=always", "--memory=500m", "--cpus=1.5", "--volume=/data:/data:ro", "--env=A=b", "--env=LD_PRELOAD=/evil.so"} <= set(
        words
    )
    assert json.loads(outcome.log[1]) == {"auths": {"registry.example.org": {"auth": "dXNlcjpwYXNzOndvcmQ="}}}
    assert "pass:word" not in " ".join(outcome.log)
    assert not {"A=b", "LD_PRELOAD=/evil.so"} & set(outcome.log), "what is the container's does not touch the runtime"
    (config,) = (line.partition("=")[2] for line in outcome.log if line.startswith("REGISTRY_AUTH_FILE="))
    assert os.stat(config).st_mode & 0o77 == 0  # noqa: PTH116
    missing = ContainerSettings(runtime=[str(runtime)], registry="r", password="env:NO_SUCH_VARIABLE")
    assert "containers.password: the variable NO_SUCH_VARIABLE is not set" in str((await place.run(containers=missing)).error)
