"""The process that calls a strategy of the user's, so that the master runs none of their code."""
