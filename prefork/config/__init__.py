"""Command line, environment and files → one frozen `Config`, with where each value came from.

Pure: what the files and the environment say comes in as arguments; nothing here opens, looks up or asks.
`options.py` is the one table of what can be set, `sources.py` ranks those who set it, `resolving.py` decides.
"""
