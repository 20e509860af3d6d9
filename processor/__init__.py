"""The worker that runs the tile graph on a tile and stores its layers as Cloud-Optimised GeoTIFFs."""
