"""Every command's name, and the file that makes it: looked up by name, so that none is imported that is not used."""

from __future__ import annotations

from types import MappingProxyType

COMMANDS = MappingProxyType(
    {
        "run": "run:make_run_command",
        "start": "start:make_start_command",
        "ls": "ls:make_ls_command",
        "status": "status:make_status_command",
        "describe": "describe:make_describe_command",
        "top": "top:make_top_command",
        "reload": "reload:make_reload_command",
        "restart": "restart:make_restart_command",
        "scale": "scale:make_scale_command",
        "stop": "stop:make_stop_command",
        "drain": "drain:make_drain_command",
        "undrain": "drain:make_undrain_command",
        "logs": "logs:make_logs_command",
        "flush": "flush:make_flush_command",
        "events": "events:make_events_command",
        "stacks": "stacks:make_stacks_command",
        "check": "check:make_check_command",
        "config": "config_command:make_config_command",
        "init": "init:make_init_command",
        "save": "saving:make_save_command",
        "resurrect": "saving:make_resurrect_command",
        "startup": "startup:make_startup_command",
        "completion": "completion:make_completion_command",
        "version": "version:make_version_command",
    }
)
"""In the order of --help; `file:function` in this package."""

ALIASES = MappingProxyType(
    {
        "list": "ls",
        "l": "ls",
        "jlist": "ls --json",
        "show": "describe",
        "desc": "describe",
        "monit": "top",
        "gracefulReload": "reload",
    }
)
"""What people type who come from PM2."""

ANSWERS = MappingProxyType(
    {
        "delete": "prefork stop NAME ends a service, and nothing of it stays behind to delete",
        "del": "prefork stop NAME ends a service, and nothing of it stays behind to delete",
        "kill": "there is no daemon to kill: prefork stop all ends every service, --quick at once",
        "reset": "counters live as long as their service: prefork describe NAME shows them",
        "ping": "prefork status says whether a service is well, also by its exit code",
        "sendSignal": "prefork reload, stop, scale and drain do what signals do",
    }
)
"""What is no command here, and what to type instead."""

NOT_SERVING = (frozenset(COMMANDS) | frozenset(ALIASES) | frozenset(ANSWERS) | {"help"}) - {"run"}
"""First words that start no service."""
