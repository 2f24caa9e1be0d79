"""The worker: runs the event loop, takes connections, calls the app, beats. The child side of the zygote's fork."""
