"""The annotations of Sentinel-1 scenes, read without the product: from disk, by ranges over HTTP or S3, or file by file."""

from catalogue.sentinel1.annotations.files import AnnotationError, AnnotationFile
from catalogue.sentinel1.annotations.reader import AnnotationReader, configured_reader

__all__ = ["AnnotationError", "AnnotationFile", "AnnotationReader", "configured_reader"]
