"""Pure decisions: what happened and what time it is come in, what to do goes out.

No clock, no `os`, no logging, no randomness of its own. The only mutable object is the Arbiter, owned by one master.
"""
