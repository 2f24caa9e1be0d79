"""The commands: from each name to what makes it. Nothing else, for it is read before anybody knows which is meant."""

from __future__ import annotations

COMMANDS = {
    "run": "run:make_run_command",
    "start": "start:make_start_command",
    "logs": "logs:make_logs_command",
    "flush": "flush:make_flush_command",
    "check": "check:make_check_command",
    "config": "config_command:make_config_command",
    "init": "init:make_init_command",
    "save": "saving:make_save_command",
    "resurrect": "saving:make_resurrect_command",
    "startup": "startup:make_startup_command",
    "version": "version:make_version_command",
}
"""In the order of --help: the module of this folder, and its function. Only the one that is asked for is imported: who
runs an app pays for no other.
"""

NOT_SERVING = frozenset({*COMMANDS, "help"} - {"run"})
"""Those that need no zygote."""
