"""The only code that forks, signals, waits, binds, maps memory or reads the clock. Thin: it decides nothing."""
