"""The command line: in this process where that says enough, as a real program for exit codes and streams."""
