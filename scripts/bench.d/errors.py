"""What the reader of the table is told when a figure cannot be had."""

from __future__ import annotations


class BenchError(Exception):
    """A server or a tool did not do what was asked; the message is for the reader of the table."""
