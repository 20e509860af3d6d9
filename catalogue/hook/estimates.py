"""When an order may be expected to have ended (`EstimatedDate`): estimated once, when it is placed, of what is known then, and stored."""

from __future__ import annotations

from datetime import timedelta

from catalogue.database import Connection

_LAST = 20
"""Items of a workflow whose durations count."""
_MOST_AHEAD = 10_000
"""More are not counted, and nothing is estimated: that would say as little as it would cost much."""


async def estimate(connection: Connection, order: int) -> None:
    """Store the estimate of a new order; none where nothing is known of its workflow, or of one that is ahead of it.

    An item takes the median of what the last completed ones of its workflow took, from its first job to its end. Items of the same or a
    higher priority that are there already go first, as many at once as are in progress. Uses hook_item_ahead, hook_item_took.
    """
    rows = await connection.fetch(_QUEUE, order, _MOST_AHEAD, _LAST)
    ahead = [row for row in rows if not row["own"]]
    if any(row["took_s"] is None for row in rows) or sum(row["waiting"] + row["running"] for row in ahead) >= _MOST_AHEAD:
        return
    [own] = [row for row in rows if row["own"]]
    at_once = max(1, sum(row["running"] for row in ahead))
    # Those that run are, on average, half done.
    left_s = sum((row["waiting"] + row["running"] / 2) * row["took_s"] for row in rows)
    seconds = max(own["took_s"], left_s / at_once)
    await connection.execute("UPDATE hook_order SET estimated_at = submitted_at + $2 WHERE id = $1", order, timedelta(seconds=seconds))


_QUEUE = """
WITH ahead AS (
    SELECT i.workflow, i.status, false AS own FROM hook_item i, hook_order o
    WHERE o.id = $1 AND i.phase <> 'ended' AND i.priority >= o.priority AND i.order_id <> $1 LIMIT $2
), counted AS (
    SELECT workflow, own, count(*) FILTER (WHERE status = 'queued')::float8 AS waiting,
           count(*) FILTER (WHERE status <> 'queued')::float8 AS running
    FROM (SELECT * FROM ahead UNION ALL SELECT workflow, status, true FROM hook_item WHERE order_id = $1) AS each GROUP BY workflow, own
)
SELECT own, waiting, running, (
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM last.completed_at - last.started_at))
    FROM (SELECT completed_at, started_at FROM hook_item i
          WHERE i.workflow = counted.workflow AND i.status = 'completed' AND i.started_at IS NOT NULL
          ORDER BY completed_at DESC LIMIT $3) AS last
) AS took_s
FROM counted
"""
