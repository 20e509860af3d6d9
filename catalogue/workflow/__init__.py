"""From records to results: jobs, their dispatch, what a result changes, what a person may change by hand.

Locks are taken in this order, always by ascending id: aoi, scene, tile, job, record. Rows are locked FOR NO KEY UPDATE, so that a new
tile may refer to one that is locked.
"""
