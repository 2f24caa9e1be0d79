"""`prefork top`: look at services while they run. A client like any other: no master and no worker imports it."""
