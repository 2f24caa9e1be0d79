"""Options, sources and their ranking: pure, so every test is a table of values."""
