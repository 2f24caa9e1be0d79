"""Who a process becomes, and that it cannot go back; each time in a process that is spent afterwards."""

from __future__ import annotations

import grp
import json
import os
import pwd

import pytest

from prefork.errors import ConfigError
from prefork.system.privileges import Identity, find_identity
from tests.system.children import BECOME_NOBODY, run_python

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

# ctypes first, as in a zygote: who has become nobody may not be able to read our interpreter's library.
BECOME = """
import ctypes, json, os, sys
from prefork.system.privileges import become, find_identity

user, group = (None if said == "-" else said for said in sys.argv[1:])
os.environ.pop("USER", None)
os.environ["HOME"] = "/before"
become(find_identity(user, group))
try:
    os.setuid(0)
    regained = True
except PermissionError:
    regained = False
with open("/proc/self/status") as status:
    no_new_privileges = "NoNewPrivs:\\t1\\n" in status.read()
print(json.dumps({
    "uids": os.getresuid(),
    "gids": os.getresgid(),
    "groups": sorted(os.getgroups()),
    "regained": regained,
    "no_new_privileges": no_new_privileges,
    "home": os.environ["HOME"],
    "user": os.environ.get("USER"),
}))
"""


@as_root
def test_a_named_user_is_become_for_good_with_all_of_its_groups() -> None:
    nobody = pwd.getpwnam("nobody")
    assert json.loads(run_python(BECOME, "nobody", "-")) == {
        "uids": [nobody.pw_uid] * 3,
        "gids": [nobody.pw_gid] * 3,
        "groups": sorted(os.getgrouplist("nobody", nobody.pw_gid)),
        "regained": False,
        "no_new_privileges": True,
        "home": nobody.pw_dir,
        "user": "nobody",
    }


@as_root
def test_a_uid_that_no_database_knows_is_become_without_roots_groups() -> None:
    assert json.loads(run_python(BECOME, "54321", "-")) == {
        "uids": [54321] * 3,
        "gids": [54321] * 3,
        "groups": [54321],
        "regained": False,
        "no_new_privileges": True,
        "home": "/before",
        "user": None,
    }


@as_root
def test_a_group_of_its_own_is_taken_instead_of_the_users() -> None:
    said = json.loads(run_python(BECOME, "nobody", "daemon"))
    gid = grp.getgrnam("daemon").gr_gid
    assert (said["gids"], said["regained"]) == ([gid] * 3, False)
    assert said["groups"] == sorted(os.getgrouplist("nobody", gid))


def test_nobody_asked_for_is_nobody_found() -> None:
    assert find_identity(None, None) is None


def test_a_user_is_found_by_name_and_by_number() -> None:
    root = Identity(0, 0, "root", pwd.getpwuid(0).pw_dir)
    if os.geteuid() == 0:
        assert find_identity("root", None) == find_identity("0", None) == find_identity("0", "0") == root


@pytest.mark.parametrize(
    ("user", "group", "message"),
    [
        ("no-such-user", None, "no user 'no-such-user' on this machine"),
        ("", None, "no user '' on this machine"),
        ("²", None, "no user '²' on this machine"),
        ("-1", None, "no user '-1' on this machine"),
        ("4294967295", None, "4294967295 is no user or group id\n  the highest is 4294967294"),
        ("9" * 5000, None, f"{'9' * 5000} is no user or group id\n  the highest is 4294967294"),
        (None, "no-such-group", "no group 'no-such-group' on this machine"),
        (None, "4294967295", "4294967295 is no user or group id\n  the highest is 4294967294"),
        (None, "99999999999", "99999999999 is no user or group id\n  the highest is 4294967294"),
        (None, "٣", "no group '٣' on this machine"),
    ],
)
def test_who_does_not_exist_is_named(user: str | None, group: str | None, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        find_identity(user, group)
    assert str(refused.value) == message


def test_without_root_another_identity_is_refused_and_our_own_is_not() -> None:
    code = f"""
import ctypes, os
from prefork.errors import NoPermissionError
from prefork.system.privileges import become, find_identity
{BECOME_NOBODY}
uid, gid = os.getuid(), os.getgid()
for user, group in (("root", None), (None, "0"), (str(uid), "0"), ("0", str(gid))):
    try:
        find_identity(user, group)
    except NoPermissionError as error:
        print(error)
become(find_identity(str(uid), str(gid)))
print((os.getuid(), os.getgid()) == (uid, gid))
"""
    refused = "only root may change --user or --group\n  start as root, or leave both out\n"
    assert run_python(code) == refused * 4 + "True\n"
