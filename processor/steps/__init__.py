"""The steps that graphs name as `python/NAME.py`: each module has a `main(argv) -> int`, a thin face of code that lies elsewhere."""
