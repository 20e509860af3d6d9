"""Which files of a product are wanted, by patterns below its folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from common.errors import FatalError
from common.graph.document import PRODUCT_MEMBERS, SWATH, GraphDocument

_ALWAYS = ("manifest.safe", "mtd_msil*.xml")
"""What makes a folder a product in the SAFE format."""
_SAFE = re.compile(r"^.*?\.SAFE/", re.IGNORECASE)


@dataclass(frozen=True)
class Members:
    """Patterns with `*` (also over slashes), `?` and `[…]`, in any case. One without a slash fits the name of a file anywhere."""

    patterns: Sequence[str] = ()
    """None: everything."""

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def wants(self, path: str) -> bool:
        """Whether the file is wanted; `path` may begin with the product's folder (`{name}.SAFE/`)."""
        if not self.patterns:
            return True
        inside = _SAFE.sub("", path.removeprefix("./")).lower()
        return any(fnmatchcase(inside, pattern) for pattern in _ALWAYS) or self.asked(path)

    def asked(self, path: str) -> bool:
        """Whether a pattern names the file, beyond what is always fetched."""
        inside = _SAFE.sub("", path.removeprefix("./")).lower()
        name = inside.rpartition("/")[2]
        return any(fnmatchcase(inside if "/" in pattern else name, pattern.lower()) for pattern in self.patterns)

    def of(self, paths: Sequence[str], where: str) -> list[str]:
        """Those of the files that are wanted. Raises FatalError where no pattern fits any."""
        if self.patterns and not any(self.asked(path) for path in paths):
            raise FatalError(f"{where} has no file that fits {', '.join(self.patterns)}: correct 'product_members' of the graph")
        return [path for path in paths if self.wants(path)]

    def check_fetched(self, folder: Path) -> None:
        """Raises FatalError where nothing in the folder was asked for: then the patterns fit nothing of what there was."""
        if self.patterns:
            self.of([path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()], "the product")


EVERYTHING = Members()


def wanted_members(document: GraphDocument, config: Mapping[str, str], swaths: Iterable[str] = ()) -> Members:
    """What a scene job needs of its product: as its configuration says (`product_members`, comma separated), else its scene graph.

    `swaths`: the sub-swaths of its tiles, which `{swath}` stands for; where they are not known, any.
    """
    told = [pattern.strip() for pattern in config.get(PRODUCT_MEMBERS, "").split(",") if pattern.strip()]
    names = sorted({swath.lower() for swath in swaths if swath}) or ["*"]
    return Members(tuple(dict.fromkeys(pattern.replace(SWATH, name) for pattern in told or document.product_members for name in names)))
