"""Tests of `prefork/chooser/`."""
