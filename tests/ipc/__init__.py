"""The messages, and messages ⇄ bytes."""
