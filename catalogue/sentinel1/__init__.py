"""What is particular to Sentinel-1 in the catalogue: annotations, bursts, and the series they form."""
