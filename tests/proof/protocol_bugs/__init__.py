"""
Protocols that are wrong on purpose, each with the invariant that names what it breaks.

Each is a use case or a statement as somebody might well have written it. The explorer must find
every one of them, by the invariant that was written down here by hand before it was looked for.
"""
