"""Whether the packages at work are ours: a folder `common` or a file `processor.py` where a program is started could stand in for them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from common.errors import ConfigurationError


def assert_own_packages(*names: str) -> None:
    """Check that each package of `names` stands beside this one; raises ConfigurationError that says where another was found.

    Every service calls it first. Python is best started with `-P`, which leaves the current folder out of the search.
    """
    root = own_root()
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ConfigurationError(f"the package '{name}' is not installed")
        places = [Path(place).resolve() for place in spec.submodule_search_locations or ()]
        if places != [root / name]:
            found = spec.origin or ", ".join(map(str, places))
            raise ConfigurationError(
                f"'{name}' was found in {found}, but ours is in {root / name}: start it with 'python -P -m {name}', or in another folder"
            )


def own_root() -> Path:
    """The folder that holds all packages of Thresher."""
    return Path(__file__).resolve().parent.parent
