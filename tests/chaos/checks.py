"""What must hold when the faults have passed: every effect exactly once, nothing lost, nothing left behind."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from chaos.stack import CATALOGUES, Stack
from common.storage import PART_PREFIX

_SHOWN = 5


@dataclass
class Findings:
    """Broken promises, and the figures of a run."""

    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    orphans: list[str] = field(default_factory=list)
    """Files in storage that nothing names."""

    def check(self, holds: bool, what: str, examples: object = "") -> None:
        if not holds:
            self.broken.append(f"{what}: {examples}" if examples else what)


async def check(stack: Stack, findings: Findings) -> None:
    """All checks; the workers have been stopped in order, the catalogues and servers still run."""
    await _items(stack, findings)
    await _jobs(stack, findings)
    _ledger(stack, findings)
    await _index(stack, findings)
    _scratch(stack, findings)
    for text, count in (("late result", "late results"), ("duplicate result", "duplicate results"), ("sent again", "lost jobs found")):
        findings.counts[count] = stack.log_lines(CATALOGUES, text)
    dead = stack.log_lines(CATALOGUES, "dead letters") + stack.log_lines(CATALOGUES, "nobody expected")
    findings.check(dead == 0, "errors nobody expected, or dead letters, in the logs of the catalogues", dead)


async def _items(stack: Stack, findings: Findings) -> None:
    size = stack.workload.size
    for table, count in (("scene", size.scene_count), ("tile", size.tile_count)):
        rows = await stack.fetch(f"SELECT status, count(*) AS n, min(message) AS message FROM {table} GROUP BY status")
        findings.check({row["status"]: row["n"] for row in rows} == {"DONE": count}, f"every {table} is DONE", [tuple(row) for row in rows])


async def _jobs(stack: Stack, findings: Findings) -> None:
    live = await stack.fetch("SELECT kind, state, send, stream_seq FROM job WHERE state <> 'finished' LIMIT 5")
    findings.check(not live, "no job is live", [tuple(row) for row in live])
    rows = await stack.fetch(
        """SELECT coalesce(scene_id, tile_id) AS item, kind, array_agg(attempt ORDER BY attempt) AS attempts,
                  array_agg(outcome ORDER BY attempt) AS outcomes, array_agg(error_kind ORDER BY attempt) AS errors
           FROM job GROUP BY kind, coalesce(scene_id, tile_id)"""
    )
    wrong = [
        tuple(row)
        for row in rows
        if row["attempts"] != list(range(1, len(row["attempts"]) + 1))
        or row["outcomes"].count("done") != 1
        or row["outcomes"][-1] != "done"
        or set(row["errors"]) - {"", "temporary"}
    ]
    findings.check(not wrong, f"the attempts of {len(wrong)} items do not add up", wrong[:_SHOWN])
    findings.counts["attempts"] = sum(len(row["attempts"]) for row in rows)
    findings.counts["temporary failures"] = sum(row["errors"].count("temporary") for row in rows)
    findings.counts["released"] = sum(row["outcomes"].count("released") for row in rows)
    sent = await stack.fetch("SELECT coalesce(sum(send), 0) AS sent FROM job")
    findings.counts["sent"] = sent[0]["sent"]
    left = await stack.fetch("SELECT uri, attempts, last_error FROM deletion LIMIT 5")
    findings.check(not left, "every deletion was carried out", [tuple(row) for row in left])


def _ledger(stack: Stack, findings: Findings) -> None:
    expected = stack.workload.expected()
    first: dict[str, int] = {}
    lines = [line.split() for line in stack.workload.ledger.read_text().splitlines()]
    findings.counts["executions"] = len(lines)
    wrong = [" ".join(line) for line in lines if len(line) != 3 or expected.get(line[0]) != int(line[2])]
    findings.check(not wrong, "every step found what the tile before left", wrong[:_SHOWN])
    for place, line in enumerate(lines):
        first.setdefault(line[0], place)
    missing = sorted(expected.keys() - first.keys())
    findings.check(not missing, f"{len(missing)} tiles never ran", missing[:_SHOWN])
    findings.counts["repeated"] = len(lines) - len(first)
    runs = Counter(line[1] for line in lines)
    findings.check(all(count == 1 for count in runs.values()), "a run wrote twice")
    chains: dict[str, list[tuple[str, int]]] = {}
    for name, place in first.items():
        date, tile = name.split("_")
        chains.setdefault(tile, []).append((date, place))
    early = [tile for tile, steps in chains.items() if [place for _, place in sorted(steps)] != sorted(place for _, place in steps)]
    findings.check(not early, "a tile ran before the one before it", early[:_SHOWN])


async def _index(stack: Stack, findings: Findings) -> None:
    expected = stack.workload.expected()
    rows = await stack.fetch("SELECT r.time, d.tile, d.uri, d.size, d.sha256 FROM dataset d JOIN record r ON r.id = d.record_id")
    named = Counter(f"{row['time']:%Y%m%d}_{row['tile']}" for row in rows)
    findings.check(named == Counter(expected.keys()), "one dataset for each tile", (named - Counter(expected.keys())).most_common(3))
    bad: list[str] = []
    for row in rows:
        name = f"{row['time']:%Y%m%d}_{row['tile']}"
        try:
            content = Path(row["uri"]).read_bytes()
        except OSError as error:
            bad.append(str(error))
            continue
        told = f"{name}_layer.tif {expected.get(name)}\n".encode()
        if len(content) != row["size"] or hashlib.sha256(content).hexdigest() != row["sha256"] or not content.endswith(told):
            bad.append(row["uri"])
    findings.check(not bad, f"{len(bad)} datasets name no file or another one", bad[:_SHOWN])
    uris, states = {row["uri"] for row in rows}, stack.workload.final_states()
    kept: set[str] = set()
    for path in stack.storage.rglob("*"):
        if path.is_file() and str(path) not in uris and path.parent.name != "logs":
            if path.name in states and path.parent.parent.name == "tiles":
                kept.add(path.name)
            else:
                findings.orphans.append(str(path.relative_to(stack.storage)))
    findings.check(kept == states, "the last tiles keep their intermediate files", sorted(states - kept)[:_SHOWN])
    for orphan in findings.orphans:
        what = "unfinished writes" if Path(orphan).name.startswith(PART_PREFIX) else "layers" if _is_run(orphan) else "intermediates"
        findings.counts[f"orphan {what}"] += 1


def _is_run(path: str) -> bool:
    """Whether the file lies in the folder of one execution."""
    try:
        UUID(Path(path).parent.name)
    except ValueError:
        return False
    return True


def _scratch(stack: Stack, findings: Findings) -> None:
    left = [path for path in stack.scratch.rglob("*") if path.is_file() or re.fullmatch(r"[0-9a-f-]{36}", path.name)]
    findings.check(
        not left, "scratch is empty when all workers have ended", [str(path.relative_to(stack.scratch)) for path in left[:_SHOWN]]
    )
