"""Which apps `prefork start WORDS` means."""

from __future__ import annotations

import pytest

from prefork.cli.app_words import pick_apps
from prefork.errors import UsageError

NAMES = ("shop", "api-1", "api-2")


@pytest.mark.parametrize(
    ("words", "names", "picked"),
    [
        ((), NAMES, ["shop", "api-1", "api-2"]),
        (("all",), NAMES, ["shop", "api-1", "api-2"]),
        (("api-2", "shop"), NAMES, ["shop", "api-2"]),
        (("api-*",), NAMES, ["api-1", "api-2"]),
        (("api-*", "api-1"), NAMES, ["api-1", "api-2"]),
        (("shop",), NAMES, ["shop"]),
        (("main:app",), NAMES, ["main:app"]),
        (("path/to/app.py",), NAMES, ["path/to/app.py"]),
        (("main",), (), ["main"]),
        ((), (), []),
        (("all",), (), []),
    ],
)
def test_words_mean_names_globs_all_of_them_or_one_app(
    words: tuple[str, ...], names: tuple[str, ...], picked: list[str]
) -> None:
    assert pick_apps(words, names) == picked


@pytest.mark.parametrize(
    ("words", "names", "message", "hint"),
    [
        (
            ("shpo",), NAMES,
            'no app "shpo" in the configuration', "did you mean shop?        there are: shop, api-1, api-2",
        ),
        (("shop", "x*"), NAMES, 'no app "x*" in the configuration', "there are: shop, api-1, api-2"),
        (("shop", "main:app"), NAMES, 'no app "main:app" in the configuration', "there are: shop, api-1, api-2"),
        (("prefork.toml",), (), "prefork.toml is a configuration file", "prefork start -c prefork.toml"),
        (("a*",), (), 'no app "a*": the configuration has no [app.NAME]', "prefork start APP starts one"),
    ],
)  # fmt: skip
def test_a_word_that_means_nothing_is_told_with_what_there_is(
    words: tuple[str, ...], names: tuple[str, ...], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as raised:
        pick_apps(words, names)
    assert (raised.value.message, raised.value.hints) == (message, (hint,))
