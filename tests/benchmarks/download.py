"""How fast the transfer engine is: against curl (one connection) and aria2c (as many connections as ours), from a server on loopback
that is 40 ms away and gives every connection 20 MB/s. And how much memory it takes for a large file.

Run: python tests/benchmarks/download.py [--mib 1024] [--large-mib 4096] [--connections 4]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

MIB = 2**20
_TICK_S = 0.02
_BLOCK = os.urandom(MIB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the file all fetch; curl, which takes longest, a quarter of it")
    parser.add_argument("--large-mib", type=int, default=4096, help="size of the file whose fetching is measured for memory")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--latency-ms", type=float, default=40)
    parser.add_argument("--rate", type=float, default=20e6, help="bytes a second and connection")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"server: {arguments.latency_ms:g} ms away, {arguments.rate / 1e6:g} MB/s a connection; {arguments.connections} connections")
    with tempfile.TemporaryDirectory() as text, Shaped(arguments.latency_ms / 1e3, arguments.rate) as server:
        folder = Path(text)
        best: dict[str, float] = {}
        commands = {
            "engine": (arguments.mib, [sys.executable, __file__, "--fetch"]),
            "engine, sha256 checked": (arguments.mib, [sys.executable, __file__, "--fetch-checked"]),
            "aria2c": (arguments.mib, ["aria2c"]),
            "curl": (arguments.mib // 4, ["curl"]),
        }
        for _ in range(arguments.rounds):
            for name, (mib, command) in commands.items():
                if shutil.which(command[0]) is None:
                    print(f"{name} is not installed")
                    continue
                speed, _ = run(command, server.url(mib), mib, folder, arguments.connections)
                best[name] = max(best.get(name, 0.0), speed)
                print(f"{name:<24}{mib:6d} MiB  {speed / 1e6:7.1f} MB/s")
        for other, wanted in (("aria2c", 0.95), ("curl", 3.0)):
            if other in best:
                print(f"engine / {other}: {best['engine'] / best[other]:.2f} (wanted: {wanted:g})")
        large: int = arguments.large_mib
        _, peak = run([sys.executable, __file__, "--fetch"], server.url(large), large, folder, arguments.connections)
        print(f"memory, peak, for {large} MiB: {peak:.0f} MB (wanted: below 150)")


def run(command: list[str], url: str, mib: int, folder: Path, connections: int) -> tuple[float, float]:
    """Bytes a second, the start of the process not counted where it is ours, and peak memory in MB."""
    target = folder / "target"
    if command[0] == "curl":
        line = ["curl", "-sS", "-o", str(target), url]
    elif command[0] == "aria2c":
        number = str(connections)
        line = ["aria2c", "-q", "-x", number, "-s", number, "-k", "1M", "--file-allocation=falloc"]
        line += ["-d", str(folder), "-o", target.name, url]
    else:
        line = [*command, url, str(target), str(connections)]
    begun = time.perf_counter()
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    peak = 0.0
    if found := re.search(r"seconds (\S+) peak (\S+)", done.stdout):
        seconds, peak = float(found[1]), float(found[2])
    assert target.stat().st_size == mib * MIB
    with target.open("rb") as file:
        for number in (0, mib // 2, mib - 1):
            file.seek(number * MIB)
            assert file.read(MIB)[:8] == number.to_bytes(8, "big")
    target.unlink()
    return mib * MIB / seconds, peak


async def fetch(url: str, target: Path, connections: int, *, checked: bool) -> None:
    from downloader.transfer import Area, Expectation, Policy, Transfer

    area = Area(target.parent / "area")
    checksum = None
    if checked:
        # What it must be is not known beforehand: that it is computed is what costs time.
        checksum = "1220" + "00" * 32
    begun = time.perf_counter()
    async with Transfer("bench", allowed=[url], s3=_no_s3, area=area, policy=Policy(connections=connections)) as transfer:
        if checked:
            from downloader.transfer import engine

            engine._compare = lambda _url, _wrong: None
        await transfer.fetch(url, target, expected=Expectation(checksum=checksum))
    seconds = time.perf_counter() - begun
    print("seconds", seconds, "peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


class Shaped:
    """A process that serves files of any size (`/{MiB}`), slowly."""

    def __init__(self, latency_s: float, rate: float) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve_in_process, args=(theirs, latency_s, rate), daemon=True)

    def __enter__(self) -> Shaped:
        self._process.start()
        self._port = self._ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def url(self, mib: int) -> str:
        return f"http://127.0.0.1:{self._port}/{mib}/file"


def _serve_in_process(pipe: Connection, latency_s: float, rate: float) -> None:
    asyncio.run(_serve(pipe, latency_s, rate))


async def _serve(pipe: Connection, latency_s: float, rate: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(latency_s)  # of the handshake
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                await asyncio.sleep(latency_s)
                size = int(head.split()[1].split("/")[1]) * MIB
                found = re.search(r"(?im)^range: *bytes=(\d+)-(\d*)", head)
                start, stop = (int(found[1]), min(size, int(found[2]) + 1) if found[2] else size) if found else (0, size)
                lines = ["HTTP/1.1 206 Partial Content" if found else "HTTP/1.1 200 OK", 'ETag: "one"', "Accept-Ranges: bytes"]
                lines += [f"Content-Range: bytes {start}-{stop - 1}/{size}"] if found else []
                writer.write("\r\n".join([*lines, f"Content-Length: {stop - start}", "", ""]).encode())
                await _body(writer, start, stop, rate)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(answer, sock=listening)
    pipe.send(listening.getsockname()[1])
    await server.serve_forever()


async def _body(writer: asyncio.StreamWriter, start: int, stop: int, rate: float) -> None:
    loop = asyncio.get_running_loop()
    begun, first = loop.time(), start
    while start < stop:
        due = min(stop, first + int(rate * (loop.time() - begun + _TICK_S)))
        while start < due:
            number, offset = divmod(start, MIB)
            length = min(due - start, MIB - offset)
            if offset < 8:
                block = number.to_bytes(8, "big") + _BLOCK[8:]
                writer.write(block[offset : offset + length])
            else:
                writer.write(memoryview(_BLOCK)[offset : offset + length])
            start += length
        await writer.drain()
        await asyncio.sleep(_TICK_S)


def _no_s3() -> object:  # type: ignore[misc]
    raise AssertionError


if __name__ == "__main__":
    if sys.argv[1:2] in (["--fetch"], ["--fetch-checked"]):
        uvloop.run(fetch(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), checked=sys.argv[1] == "--fetch-checked"))
    else:
        main()
