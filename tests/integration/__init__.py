"""The real program, started as a user would and judged from outside: bytes, signals, exit codes and /proc."""
