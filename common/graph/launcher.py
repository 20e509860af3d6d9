"""The first lines of every step's process: tie it to the life of its parent, then become the step.

Run as a file by its path, so that it needs nothing of this program: `launcher.py script FILE …`, `module ROOT NAME …`, `command FILE …`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing, as all that stands further below, costs every step milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable

_SIGKILL = 9
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the step the command line names."""
    _die_with_parent()
    kind, *rest = sys.argv[1:]
    match kind:
        case "command":
            os.execv(rest[0], rest)  # noqa: S606 - the point: no shell, the very file
        case "module":
            from importlib import import_module

            root, name, *arguments = rest
            if root not in sys.path:
                sys.path.insert(0, root)
            sys.argv = [name, *arguments]
            step: Callable[[list[str]], int] = import_module(name).main
            sys.exit(step(arguments))
        case "script":
            import runpy

            sys.argv = rest
            # Behind everything else: the script finds its neighbours, but they hide no other module.
            sys.path.append(os.path.dirname(rest[0]))  # noqa: PTH120 - pathlib is not loaded yet
            runpy.run_path(rest[0], run_name="__main__")


def _die_with_parent() -> None:
    """Where the system can (Linux): be killed when the worker is, even by SIGKILL."""
    if sys.platform != "linux":
        return
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:
        sys.exit("the worker has ended")


if __name__ == "__main__":
    main()
