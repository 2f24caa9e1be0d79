"""The master: binds, waits, asks the Arbiter, performs. One thread, no asyncio, no code of the app, ever."""
