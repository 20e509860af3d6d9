"""The index of what was made, as in a Geocube: variables and their instances, records, datasets."""
