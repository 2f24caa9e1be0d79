"""What the processes say to each other: the messages, and messages ⇄ bytes. Pure: no sockets here."""
