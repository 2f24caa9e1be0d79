"""`prefork completion bash|zsh|fish`: a script for the shell, which asks us for the words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class, shell_complete

PROGRAM = "prefork"
VARIABLE = "_PREFORK_COMPLETE"


def make_completion_command() -> click.Command:
    """The command."""
    return click.Command(
        "completion",
        callback=print_script,
        params=[click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"]))],
        help="""Print a completion script: commands, flags, and the names of the services that run.

\b
  bash  prefork completion bash > ~/.local/share/bash-completion/completions/prefork
  zsh   prefork completion zsh > ~/.zfunc/_prefork        (a directory of $fpath)
  fish  prefork completion fish > ~/.config/fish/completions/prefork.fish
""",
        short_help="Print a completion script for the shell.",
    )


def print_script(*, shell: str) -> int:
    """On standard output."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  # click has these three
    completion = kind(click.Command(PROGRAM), {}, PROGRAM, VARIABLE)
    print(completion.source_template % completion.source_vars())
    return 0


def answer_shell(program: click.Command, instruction: str) -> int:
    """What the script asks for."""
    return shell_complete(program, {}, PROGRAM, VARIABLE, instruction)
