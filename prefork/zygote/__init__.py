"""The zygote: a fresh interpreter that imports the app once and then forks a worker whenever the master asks.

It never serves, never runs an event loop, and never starts a thread.
"""
