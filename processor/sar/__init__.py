"""Sentinel-1 radar: from the single look complex bursts of a scene to backscatter and coherence on a map.

Formulas and their sources: docs/sentinel1.md. Angles are radians and times seconds, unless a name says otherwise.
"""
