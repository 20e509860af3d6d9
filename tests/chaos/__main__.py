"""`python -m chaos`: play seeds one after the other, print a table, and fail if a promise was broken."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from chaos.run import SHORT_PLAN, Outcome, Plan, play

_COLUMNS = (
    ("executions", "runs"),
    ("repeated", "repeated"),
    ("late results", "late"),
    ("duplicate results", "dupl."),
    ("lost jobs found", "re-sent"),
    ("temporary failures", "temp."),
    ("orphan layers", "layers"),
    ("orphan intermediates", "intermediate"),
    ("orphan unfinished writes", "unfinished"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many runs")
    parser.add_argument("--seed", type=int, help="the first seed; the others follow it")
    parser.add_argument("--short", action="store_true", help="few tiles, few faults")
    parser.add_argument("--keep", action="store_true", help="leave the folder of a run that breaks a promise")
    parser.add_argument("--out", type=Path, help="append each line of the table to this file")
    arguments = parser.parse_args()
    plan = SHORT_PLAN if arguments.short else Plan()
    first = random.SystemRandom().randrange(100_000) if arguments.seed is None else arguments.seed
    outcomes: list[Outcome] = []
    for seed in range(first, first + arguments.seeds):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        outcome = play(seed, plan, lambda text: print(text, file=sys.stderr, flush=True), keep=arguments.keep)
        outcomes.append(outcome)
        print(_row(outcome), file=sys.stderr, flush=True)
        if arguments.out is not None:
            with arguments.out.open("a", encoding="utf-8") as out:
                out.write(_row(outcome) + "\n")
        for broken in outcome.findings.broken:
            print(f"  BROKEN  {broken}", file=sys.stderr, flush=True)
        for orphan in outcome.findings.orphans:
            print(f"  orphan  {orphan}", file=sys.stderr, flush=True)
        for reason in outcome.skipped:
            print(f"  skipped {reason}", file=sys.stderr, flush=True)
    print("| seed | seconds | faults | " + " | ".join(title for _, title in _COLUMNS) + " | promises |")
    print("|---" * (len(_COLUMNS) + 4) + "|")
    for outcome in outcomes:
        print(_row(outcome))
    broken = sum(bool(outcome.findings.broken) for outcome in outcomes)
    print(f"{len(outcomes)} seeds, {broken} with broken promises")
    return 1 if broken else 0


def _row(outcome: Outcome) -> str:
    faults = ", ".join(f"{count} {fault}" for fault, count in sorted(outcome.faults.items()))
    counts = outcome.findings.counts
    cells = [outcome.seed, f"{outcome.seconds:.0f}", faults, *(counts[name] for name, _ in _COLUMNS)]
    return "| " + " | ".join(map(str, cells)) + f" | {'kept' if not outcome.findings.broken else 'BROKEN'} |"


if __name__ == "__main__":
    sys.exit(main())
