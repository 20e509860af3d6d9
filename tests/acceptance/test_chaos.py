"""The short run of the chaos suite: one seed, few tiles, every promise. The long one is `make chaos`."""

from __future__ import annotations

import pytest
from chaos.run import SHORT_PLAN, play

SEED = 2


@pytest.mark.long
@pytest.mark.timeout(240)
def test_every_effect_happens_exactly_once_under_faults(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = play(SEED, SHORT_PLAN, print)
    assert outcome.findings.broken == []
    assert outcome.findings.counts["executions"] >= SHORT_PLAN.size.tile_count
    assert sum(outcome.faults.values()) > 0
