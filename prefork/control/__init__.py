"""The operator's socket, both ends: what can be asked and answered, where it is, who serves it and who asks."""
