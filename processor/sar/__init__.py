"""Sentinel-1 radar: from the single look complex bursts of a scene to backscatter and coherence on a map."""
