"""A container runtime that works here, with an image of busybox made on the spot: no registry is needed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

IMAGE = "localhost/thresher-test:1"
LIMITS = ["--network=none", "--ulimit=nofile=512:512", "--ulimit=nproc=1000:1000"]

HOOK = """
input= output=
for argument in "$@"; do
  case "$argument" in
    --input=*) input=${argument#--input=} ;;
    --output=*) output=${argument#--output=} ;;
    --run=*) eval "${argument#--run=}" ;;
  esac
done
if [ -n "$output" ]; then
  product=$(basename "$input" .SAFE)
  mkdir -p "$output/$product"
  tr a-z A-Z < "$input/manifest.safe" > "$output/$product/result.txt"
  echo "made $output/$product"
fi
"""


@dataclass(frozen=True)
class ContainerRuntime:
    """Its command line, and the image that plays a custom hook: `--input --output`, or a shell script with `--run`."""

    command: list[str]
    image: str = IMAGE

    def run(self, *arguments: str) -> str:
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture(scope="session")
def container_runtime() -> Iterator[ContainerRuntime]:
    """Docker, else podman without a daemon; skips with the reason where neither can run a container."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no container can be made: busybox is not installed (package busybox-static)")
    # Not pytest's folder: podman wants a short path.
    folder = Path(tempfile.mkdtemp(prefix="tc-"))
    try:
        image = _archive(Path(busybox), folder)
        podman = ["podman", f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs", "--cgroup-manager=cgroupfs"]
        reasons = []
        for command in (["docker"], [*podman, "--runtime=runc"], podman):
            runtime = ContainerRuntime(command)
            reason = _tried(runtime, image)
            if not reason:
                yield runtime
                runtime.run("rmi", "--force", IMAGE)
                return
            reasons.append(reason)
        pytest.skip("; ".join(reasons))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tried(runtime: ContainerRuntime, image: Path) -> str:
    """Why the runtime cannot run the image; empty if it can."""
    name = runtime.command[0]
    if shutil.which(name) is None:
        return f"{name} is not installed"
    try:
        runtime.run("import", '--change=ENTRYPOINT ["/bin/busybox", "sh", "/hook.sh"]', str(image), IMAGE)
        runtime.run("run", "--rm", *LIMITS, IMAGE, "--run=true")
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return f"{name} cannot run a container: {said.strip()[-200:]}"
    return ""


def _archive(busybox: Path, folder: Path) -> Path:
    root = folder / "image"
    if not root.exists():
        (root / "bin").mkdir(parents=True)
        shutil.copy(busybox, root / "bin" / "busybox")
        for name in ("sh", "basename", "mkdir", "tr", "env", "cat", "touch", "sleep", "ls"):
            (root / "bin" / name).symlink_to("busybox")
        (root / "hook.sh").write_text(HOOK)
        with tarfile.open(folder / "image.tar", "w") as tar:
            tar.add(root, arcname=".")
    return folder / "image.tar"
