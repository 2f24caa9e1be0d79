"""The files users deploy with, each checked by the real tool."""
