"""The tests mirror the tree of `prefork/`; `integration/` runs the real program."""
