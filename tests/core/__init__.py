"""The pure decisions, checked by histories."""
