"""The HTTP API: the interface of the reference, the cube, health, and its own description."""
