"""The cube as STAC: an item for each record and tile of an AOI, a collection for each AOI, and the search over them. Read-only."""
