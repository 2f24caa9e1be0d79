"""Several apps in one file, and profiles: which table wins, and what is said of a wrong one."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from prefork.config.tables import check_tables, cut_tables, list_apps, list_profiles, pick_layers
from prefork.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHOP = """
workers = 1
threads = 1
backlog = 1
max-restarts = 1

[env]
PLACE = "top"

[app.shop]
app = "shop:app"
threads = 2
backlog = 2
max-restarts = 2

[app.shop.env]
PLACE = "shop"

[app.shop.profile.production]
max-restarts = 4

[app.api]
app = "api:app"
name = "interface"

[profile.production]
backlog = 3
max-restarts = 3
"""


def decide(text: str, app: str, profile: str | None = None) -> dict[str, tuple[Any, str]]:
    """Key → value and origin, the highest layer's."""
    decided: dict[str, tuple[Any, str]] = {}
    for layer in reversed(pick_layers([cut_tables(tomllib.loads(text), "prefork.toml")], app, profile)):
        decided |= {key: (given.value, given.origin) for key, given in layer.given.items()}
    decided.pop("workers", None)
    return decided


def test_the_table_of_the_app_wins_over_the_top_and_names_the_app() -> None:
    assert decide(SHOP, "shop") == {
        "threads": (2, "prefork.toml [app.shop]"),
        "backlog": (2, "prefork.toml [app.shop]"),
        "max-restarts": (2, "prefork.toml [app.shop]"),
        "env": ({"PLACE": "shop"}, "prefork.toml [app.shop]"),
        "app": ("shop:app", "prefork.toml [app.shop]"),
        "name": ("shop", "prefork.toml [app.shop]"),
    }


def test_a_profile_wins_over_the_app_and_the_apps_own_profile_over_both() -> None:
    decided = decide(SHOP, "shop", "production")
    assert decided["threads"] == (2, "prefork.toml [app.shop]")
    assert decided["backlog"] == (3, "prefork.toml [profile.production]")
    assert decided["max-restarts"] == (4, "prefork.toml [app.shop.profile.production]")
    assert decide(SHOP, "api", "production")["max-restarts"] == (3, "prefork.toml [profile.production]")


def test_a_name_in_the_table_wins_over_the_tables_own() -> None:
    assert decide(SHOP, "api")["name"] == ("interface", "prefork.toml [app.api]")


def test_a_service_without_a_table_has_the_top_and_the_profile() -> None:
    decided = decide(SHOP, "", "production")
    assert decided["threads"] == (1, "prefork.toml")
    assert decided["backlog"] == (3, "prefork.toml [profile.production]")
    assert "app" not in decided
    assert "name" not in decided


def test_apps_and_profiles_are_listed_in_the_order_of_the_file() -> None:
    files = [cut_tables(tomllib.loads(SHOP), "prefork.toml")]
    assert list_apps(files) == ("shop", "api")
    assert list_profiles(files) == ("production",)


def test_tables_of_two_files_add_up_and_the_first_file_wins() -> None:
    files = [
        cut_tables({"app": {"shop": {"threads": 2}}}, "prefork.toml"),
        cut_tables(
            {"app": {"shop": {"threads": 3, "backlog": 3}, "api": {}}}, "pyproject.toml", "tool.prefork"
        ),
    ]
    assert list_apps(files) == ("shop", "api")
    layers = pick_layers(files, "shop", None)
    assert [layer.given["threads"].origin for layer in layers if "threads" in layer.given] == [
        "prefork.toml [app.shop]",
        "pyproject.toml [tool.prefork.app.shop]",
    ]


def test_a_mistake_in_another_app_keeps_nobody_from_starting_but_is_found_by_a_check() -> None:
    files = [cut_tables(tomllib.loads("[app.shop]\n[app.api]\nworkres = 1\n"), "prefork.toml")]
    assert pick_layers(files, "shop", None)
    with pytest.raises(ConfigError, match=r"prefork.toml \[app.api\]: unknown option workres"):
        check_tables(files)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[app.shop]\nworkres = 2\n",
            "prefork.toml [app.shop]: unknown option workres",
            "did you mean workers?",
        ),
        (
            "[app.shop]\nworkers = 'many'\n",
            'prefork.toml [app.shop]: workers = "many": not a number of workers',
            "accepted: a number from 1, max (one per CPU), max-1, 50%",
        ),
        (
            "[app]\nbind = ':80'\n",
            "prefork.toml [app]: bind stands in no table of a name",
            "write [app.NAME] above it",
        ),
        (
            "[app.'my shop']\n",
            'prefork.toml [app]: "my shop" is not a name',
            "accepted: letters, digits, _ . - (64 at most, no . or - in front)",
        ),
        (
            "[app.all]\n",
            "prefork.toml [app.all]: all means every app",
            "give it another name",
        ),
        (
            "[app.shop.profile]\nworkers = 2\n",
            "prefork.toml [app.shop.profile]: workers stands in no table of a name",
            "write [app.shop.profile.NAME] above it",
        ),
        (
            "name = 'x'\n[app.shop]\n",
            'prefork.toml: name = "x" would be the name of every app',
            "an app is called as its table; another name goes into [app.shop]",
        ),
        (
            "[app.shop]\n[profile.production.app.shop]\nworkers = 1\n",
            "prefork.toml [profile.production]: no table [app] here",
            "the tables are [app.NAME], [profile.NAME] and [app.NAME.profile.NAME], each with keys and an env",
        ),
    ],
)
def test_a_wrong_table_is_named_with_its_file_and_key(text: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        decide(text, "shop", "production" if "profile" in text else None)
    assert (raised.value.message, raised.value.hints) == (message, (hint,))


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        (
            [cut_tables(tomllib.loads(SHOP), "prefork.toml")],
            'no profile "prodution" in prefork.toml',
            "did you mean production?        there are: production",
        ),
        (
            [cut_tables({"app": {"shop": {}}}, "prefork.toml")],
            'no profile "prodution": prefork.toml has no profiles',
            "a profile is a table of its file, [profile.NAME]",
        ),
        (
            [],
            'no profile "prodution": there is no configuration file here',
            "a profile is a table of its file, [profile.NAME]",
        ),
    ],
)
def test_a_profile_that_no_table_has_is_an_error(files: list[Any], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        pick_layers(files, "", "prodution")
    assert (raised.value.message, raised.value.hints) == (message, (hint,))
