"""A stack of separate processes under random faults, and what must hold when they have passed. Run: `make chaos SEEDS=20`."""
