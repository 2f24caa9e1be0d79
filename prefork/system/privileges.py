"""Give up root for good: in the zygote, before any code of the app is imported."""

from __future__ import annotations

import grp
import os
import pwd
from typing import NamedTuple

from prefork.errors import ConfigError, NoPermissionError
from prefork.system.processes import forbid_new_privileges

MAX_ID = 2**32 - 2
"""One more is (uid_t) -1, which means "leave it as it is" to setresuid(2): root would stay."""


class Identity(NamedTuple):
    """Who to become. `name` is for initgroups(3): empty when the uid has no entry in the user database."""

    uid: int
    gid: int
    name: str
    home: str


def find_identity(user: str | None, group: str | None) -> Identity | None:
    """The identity that `--user` and `--group` (names or numbers) ask for; None if neither was given.

    Raises `ConfigError` for an unknown name, `NoPermissionError` when we are not root and it is not who we are.
    """
    if user is None and group is None:
        return None
    uid, gid, name, home = os.geteuid(), os.getegid(), "", "/"
    if user is not None:
        entry = _find_user(user)
        uid, gid, name, home = entry
    if group is not None:
        gid = _find_group(group)
    if os.geteuid() != 0 and (uid, gid) != (os.geteuid(), os.getegid()):
        raise NoPermissionError("only root may change --user or --group", "start as root, or leave both out")
    return Identity(uid, gid, name, home)


def _find_user(user: str) -> Identity:
    number = _parse_id(user)
    try:
        entry = pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
    except KeyError:
        if number is not None:  # containers run uids that no database knows
            return Identity(number, number, "", "/")
        raise ConfigError(f"no user {user!r} on this machine") from None
    return Identity(entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir)


def _find_group(group: str) -> int:
    if (number := _parse_id(group)) is not None:
        return number
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"no group {group!r} on this machine") from None


def _parse_id(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10 or int(text) > MAX_ID:
        raise ConfigError(f"{text} is no user or group id", f"the highest is {MAX_ID}")
    return int(text)


def become(identity: Identity | None) -> None:
    """Become that user for good, and make sure that there is no way back. Raises `NoPermissionError`."""
    if identity is None:
        return
    if os.geteuid() == 0:
        try:
            if identity.name:
                os.initgroups(identity.name, identity.gid)
            else:
                os.setgroups([identity.gid])
            os.setresgid(identity.gid, identity.gid, identity.gid)
            os.setresuid(identity.uid, identity.uid, identity.uid)
        except OSError as error:
            raise NoPermissionError(f"cannot become uid {identity.uid}: {error.strerror}") from error
        if identity.uid != 0:
            _refuse_way_back()
        if identity.name:
            os.environ["HOME"] = identity.home
            os.environ["USER"] = os.environ["LOGNAME"] = identity.name
    forbid_new_privileges()


def _refuse_way_back() -> None:
    try:
        os.setuid(0)
    except OSError:
        return
    raise NoPermissionError(
        "root could be regained after it was given up"
    )  # pragma: no cover needs a broken kernel
