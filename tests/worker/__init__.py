"""The worker's parts, each with a service of a few lines."""
