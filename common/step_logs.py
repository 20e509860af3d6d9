"""Where the whole output of steps is kept: beside the layers, under a name of its execution alone."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from uuid import UUID

from common.errors import ThresherError
from common.graph.record import StepRecord
from common.layers import LayerStore
from common.messages import SceneRef, TileRef
from common.step_settings import GraphSettings
from common.storage.base import PART_PREFIX
from common.threads import in_thread

log = logging.getLogger(__name__)


async def store_log(
    record: StepRecord, store: LayerStore, scene: SceneRef, tile: TileRef | None, run: UUID, settings: GraphSettings, *, failed: bool
) -> str:
    """The URI of what the steps printed; empty where nothing is kept. A log that cannot be stored fails nothing."""
    if record.is_empty or settings.logs == "never" or (settings.logs == "failure" and not failed):
        return ""
    try:
        with tempfile.TemporaryDirectory(prefix=PART_PREFIX) as folder:
            path = await in_thread(lambda _: record.write(Path(folder)))
            return (await store.save_log(path, scene, tile, run)).uri
    except (ThresherError, OSError) as error:
        log.warning("the log of the steps cannot be stored: %s", error)
        return ""
