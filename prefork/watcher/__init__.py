"""The process that watches files for `--reload`: it looks, waits until it is quiet, and tells the master."""
