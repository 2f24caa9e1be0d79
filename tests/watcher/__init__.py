"""Tests of `prefork/watcher/`."""
