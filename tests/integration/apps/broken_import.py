"""Raises when it is imported."""


def load_settings():
    raise RuntimeError("no DATABASE_URL")


load_settings()
