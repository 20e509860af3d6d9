"""Provider `aws-s3`: buckets of the AWS registry of open data that whoever reads pays for: Landsat of USGS, Sentinel-2 of Sinergise.

Sources: USGS, "Landsat Commercial Cloud Data Access"; registry.opendata.aws, "Sentinel-2".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from common.product_names import Constellation, ProductName, parse_product_name
from downloader.providers.aws_sentinel2 import fetch_sentinel2
from downloader.providers.base import NotOfferedError, Place, ProductRequest
from downloader.providers.copernicus_s3 import fetch_prefix
from downloader.providers.url import filled


@dataclass(frozen=True)
class _Bucket:
    name: str
    region: str


_LANDSAT = _Bucket("usgs-landsat", "us-west-2")
_SENTINEL2 = {"L1C": _Bucket("sentinel-s2-l1c", "eu-central-1"), "L2A": _Bucket("sentinel-s2-l2a", "eu-central-1")}


class AwsS3Provider:
    """With `url`, a pattern `s3://bucket/…{SCENE}…/`, a bucket of one's own with a folder for each product."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = replace(place, provider=place.provider.model_copy(update={"requester_pays": True}))

    async def fetch(self, request: ProductRequest, folder: Path) -> None:
        source_id = request.scene.source_id
        if pattern := self._place.provider.url:
            prefix = filled(pattern, source_id, request.scene.aoi).rstrip("/")
            last = prefix.rpartition("/")[2]
            await fetch_prefix(self._place, f"{prefix}/", last if last.endswith(".SAFE") else "", request, folder)
            return
        try:
            name = parse_product_name(source_id)
        except ValueError as error:
            raise NotOfferedError(str(error)) from None
        match name.constellation:
            case Constellation.LANDSAT:
                place = self._in(_LANDSAT)
                await fetch_prefix(place, f"s3://{_LANDSAT.name}/{_landsat_prefix(name)}", "", request, folder)
            case Constellation.SENTINEL2 if name.parts["PRODUCT_LEVEL"] in _SENTINEL2:
                bucket = _SENTINEL2[name.parts["PRODUCT_LEVEL"]]
                await fetch_sentinel2(self._in(bucket), bucket.name, name, request, folder)
            case _:
                raise NotOfferedError(f"{source_id} is neither of Landsat nor of Sentinel-2")

    def _in(self, bucket: _Bucket) -> Place:
        provider = self._place.provider
        if provider.endpoint_url or provider.region:
            return self._place
        return replace(self._place, provider=provider.model_copy(update={"region": bucket.region}))


def _landsat_prefix(name: ProductName) -> str:
    level = name.parts["LEVEL"][1]
    return name.fill(f"collection02/level-{level}/standard/{{COLLECTION}}/{{YEAR}}/{{PATH}}/{{ROW}}/{{SCENE}}/")
