"""Step `python/erode_mask.py`: another name of `erodeMask.py`."""

from processor.steps.erodeMask import main

__all__ = ["main"]
