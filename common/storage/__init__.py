"""Object storage: one folder or one `s3://bucket/prefix`, with the same promises. Which file lies where is `common.layers`."""

from common.storage.base import PART_PREFIX, Storage
from common.storage.opening import is_below, normal_root, open_storage

__all__ = ["PART_PREFIX", "Storage", "is_below", "normal_root", "open_storage"]
