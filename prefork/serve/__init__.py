"""One connection: bytes ⇄ app, whatever the app's interface. Knows no master, no fork, no channel."""
