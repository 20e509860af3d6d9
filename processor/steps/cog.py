"""Step `python/cog.py`: another name of `create_cog.py`."""

from processor.steps.create_cog import main

__all__ = ["main"]
