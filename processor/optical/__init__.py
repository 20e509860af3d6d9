"""Optical products: which file holds which band, how pixels become reflectance, and how bands become layers."""
