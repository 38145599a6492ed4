"""What runs in a library's own environment: one module each, see `tests.wiring.inside`."""
