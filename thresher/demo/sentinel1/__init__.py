"""Simulated Sentinel-1: SLC products in the SAFE format whose every pixel follows from a made-up ground, a made-up orbit and a seed.

Nothing here is a measurement. The formulas are written anew, so that tests of the processing do not compare it with itself.
"""
