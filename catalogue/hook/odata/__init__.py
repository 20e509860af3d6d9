"""OData as clients speak it: `query` reads the query options of a list, `filters` turns `$filter` into SQL, `spelling` mends what is not
quite OData.
"""
