"""Where prefork keeps what outlives a process: logs of background masters, what was started, what was saved.

`$XDG_STATE_HOME/prefork`, else `~/.local/state/prefork` (https://specifications.freedesktop.org/basedir-spec/latest/);
root's logs lie in /var/log/prefork, where an administrator looks.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping

from prefork.errors import ConfigError

ROOT_LOGS = "/var/log/prefork"


def find_state_directory(environ: Mapping[str, str]) -> str:
    """Its path; nothing is made. Raises `ConfigError` for a user without a home."""
    if (given := environ.get("XDG_STATE_HOME", "")).startswith("/"):  # relative ones count as not set
        return posixpath.join(given, "prefork")
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise ConfigError("this user has no home directory to keep logs and state in", "set XDG_STATE_HOME")
    return posixpath.join(home, ".local/state/prefork")


def find_log_directory(environ: Mapping[str, str]) -> str:
    """Where the logs of background masters lie unless `log-file` says something else."""
    if os.geteuid() == 0 and not environ.get("XDG_STATE_HOME", "").startswith("/"):
        return ROOT_LOGS
    return find_state_directory(environ)


def find_log(environ: Mapping[str, str], name: str) -> str:
    """The log of the background master of this name."""
    return posixpath.join(find_log_directory(environ), f"{name}.log")
