"""The command line: one command per file, made from `config/options.py`'s table.

The only place that reads configuration files and the process environment. It stays small and starts
fast, because the master lives on in the process that ran it. `asyncio` is never imported here.
"""
