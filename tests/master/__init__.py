"""The master's parts that need no running service."""
