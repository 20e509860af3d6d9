"""The annotations of a scene as files in memory, and the rules by which they are picked out of whatever holds them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from common.errors import ThresherError
from common.product_names import Constellation, ProductName, parse_product_name

MEMBER_BYTES = 64 * 2**20
"""Of one annotation; the largest real ones have 3 MB."""
MEMBERS = 400
"""Of one scene: six of an IW scene, a pair for every vignette of a WV scene."""
TOTAL_BYTES = 256 * 2**20

_NAME = re.compile(
    r"(?P<mission>s1[a-d])-[a-z0-9]{2,3}-[a-z]{3}-[hv]{2}-(?P<start>\d{8}t\d{6})-(?P<stop>\d{8}t\d{6})-(?P<orbit>\d{6})-(?P<take>[0-9a-f]{6})-\d{3}\.xml"
)
_SCENE = re.compile(r"S1[A-D]_[A-Z0-9]{2}_[A-Z]{3}[FHM_]_\d[A-Z]{3}_(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})_[A-Z0-9]+(?:_[A-Z0-9]+)*")
_MARGIN = timedelta(seconds=2)
_OTHERS = {"calibration", "noise", "rfi"}


@dataclass(frozen=True)
class AnnotationFile:
    """One annotation: a sub-swath in one polarisation."""

    name: str
    """File name, such as `s1a-iw1-slc-vv-20250406t022009-20250406t022034-058630-07421f-004.xml`."""
    content: bytes


class AnnotationError(ThresherError):
    """The annotations of a scene are not there, or not as they should be."""


@dataclass(frozen=True)
class SceneName:
    """The name of a Sentinel-1 product, and which annotations are of it."""

    product: ProductName
    start: datetime
    stop: datetime

    @property
    def text(self) -> str:
        """Without an extension; letters, digits and underscores only."""
        return self.product.text

    def holds(self, path: str) -> bool:
        """Whether the member `path` of a SAFE or of an archive is an annotation of the scene itself, not a calibration nor another's."""
        *folders, name = path.split("/")
        match = _NAME.fullmatch(name)
        if match is None or (folders and folders[-1] in _OTHERS) or ("annotation" in folders and folders[-1] != "annotation"):
            return False
        if any(folder.endswith(".SAFE") and folder != f"{self.text}.SAFE" for folder in folders):
            return False
        parts = self.product.parts
        if (match["mission"], match["orbit"], match["take"]) != (parts["MISSION_ID"].lower(), parts["ORBIT"], parts["MISSION"].lower()):
            return False
        try:
            # Slices of one data take differ in time alone; neighbours overlap by 2 s.
            return _time(match["start"]) >= self.start - _MARGIN and _time(match["stop"]) <= self.stop + _MARGIN
        except ValueError:
            return False


def parse_scene(source_id: str) -> SceneName:
    """The scene of a product name; raises AnnotationError for what is none of Sentinel-1."""
    text = source_id.removesuffix(".SAFE")
    match = _SCENE.fullmatch(text)
    try:
        product = parse_product_name(text)
        if match is None or product.constellation is not Constellation.SENTINEL1:
            raise ValueError(f"'{text[:100]}' is not the name of a {Constellation.SENTINEL1} product")
        return SceneName(product, _time(match["start"]), _time(match["stop"]))
    except ValueError as error:
        raise AnnotationError(str(error)) from None


class Collection:
    """Annotations of one scene as they come in, within the limits."""

    def __init__(self, scene: SceneName, where: str) -> None:
        self._scene = scene
        self._where = where
        self._files: dict[str, AnnotationFile | None] = {}
        self._bytes = 0

    def reserve(self, path: str, size: int) -> None:
        """Before a member is read: raises AnnotationError for one that is too large, one too many, or there twice."""
        name = path.rpartition("/")[2]
        self._bytes += size
        if size > MEMBER_BYTES or self._bytes > TOTAL_BYTES:
            raise self.error(path, f"has {size} bytes, more than is read of annotations")
        if len(self._files) >= MEMBERS:
            raise self.error(path, f"is one of more than {MEMBERS}")
        if name in self._files:
            raise self.error(path, "is there twice")
        self._files[name] = None

    def put(self, path: str, content: bytes) -> None:
        """What a reserved member holds; raises AnnotationError for an empty one."""
        if not content.strip():
            raise self.error(path, "is empty")
        name = path.rpartition("/")[2]
        self._files[name] = AnnotationFile(name, content)

    def files(self) -> list[AnnotationFile]:
        """All of them, by name; raises AnnotationError where there is none."""
        files = [file for _, file in sorted(self._files.items()) if file is not None]
        if not files:
            raise AnnotationError(f"{self._where} holds no annotation of {self._scene.text}")
        return files

    def error(self, path: str, why: str) -> AnnotationError:
        return AnnotationError(f"{self._where}: '{path[-200:]}' of {self._scene.text} {why}")


def _time(text: str) -> datetime:
    return datetime.strptime(text.upper(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
