"""`prefork`: which command is meant. `prefork APP …` is `prefork run APP …`, and so is `prefork` alone."""

from __future__ import annotations

import posixpath
from importlib import import_module

import click

import prefork
from prefork.cli.commands import ALIASES, ANSWERS, COMMANDS
from prefork.cli.cutting import CONFIG_FLAG
from prefork.cli.parameters import write_options
from prefork.config.nearest import find_nearest
from prefork.errors import UsageError

HELP = """Run a Python server on every core, deploy it without losing a request.

\b
  prefork main:app                         serve main.py's app on 127.0.0.1:8000
  prefork main:app -w max -b :80           a worker per CPU, on all addresses
  prefork 'shop:create_app()' -b unix:/run/shop.sock
  prefork check main:app                   would it start? tells without serving
  prefork config                           every setting, and who set it
  prefork start                            every app of prefork.toml, in the background
  prefork ls                               what runs; then status, reload, scale, stop …
\b
Signals: HUP reloads without losing a request, TTIN and TTOU change the number of workers, TERM stops.
"""

_OWN_FLAGS = frozenset({"--help", "-h", "--version"})


class Program(click.Group):
    """The group of commands; what does not begin with one belongs to `run`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            module, _, function = COMMANDS[cmd_name].partition(":")
            self.add_command(getattr(import_module(f"prefork.cli.{module}"), function)())
        return self.commands[cmd_name]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell completes what is not finished
            return super().parse_args(ctx, args)
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        first = args[0] if args else ""
        if first in ALIASES:
            args = [*ALIASES[first].split(), *args[1:]]
        elif first not in _OWN_FLAGS and first not in COMMANDS:
            self._refuse_misspelt(first, args[1:])
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def _refuse_misspelt(self, word: str, others: list[str]) -> None:
        # An app has a colon, a slash or a dot in it, or is the name of a module that is there, or of a table.
        if not word.isidentifier() or posixpath.exists(word) or posixpath.exists(f"{word}.py"):
            return
        if word in ANSWERS:
            raise UsageError(f"no command {word}", ANSWERS[word])
        near = find_nearest(word, COMMANDS)
        if near and word not in _list_tables(others):
            raise UsageError(
                f"no command {word}, and no app of that name here",
                f"did you mean prefork {near}?        an app is module:attr or path/to/app.py",
            )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_options(formatter)


def _list_tables(words: list[str]) -> tuple[str, ...]:
    """The apps of the file that these words name, or of ./prefork.toml. Only who looks misspelt pays for reading it."""
    from prefork.cli.reading import read_tables, start_from_flags  # noqa: PLC0415  # see above
    from prefork.config.tables import list_apps  # noqa: PLC0415

    flags = {}
    for index, word in enumerate(words):
        if word in {"-c", "--config"} and words[index + 1 :]:
            flags[CONFIG_FLAG] = words[index + 1]
        elif word.startswith("--config="):
            flags[CONFIG_FLAG] = word.removeprefix("--config=")
    return list_apps(read_tables(start_from_flags(None, flags)))


def make_program() -> Program:
    """The whole command line. Made when it is needed: `import` alone costs nothing."""
    program = Program(
        "prefork",
        help=HELP,
        subcommand_metavar="[run] APP [OPTIONS] | COMMAND …",
        options_metavar="",
        context_settings={
            "help_option_names": ["-h", "--help"],
            "max_content_width": 110,
            # --keep_alive is --keep-alive: gunicorn has flags with underscores, and keys of the file may have them.
            "token_normalize_func": lambda word: word.replace("_", "-"),
        },
    )
    program.params.append(
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
    )
    return program


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001  # click's
    if value:
        print(f"prefork {prefork.__version__}")
        context.exit(0)
