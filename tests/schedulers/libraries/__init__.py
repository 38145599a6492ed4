"""What runs in a library's own environment: one module each, imported by `tests.schedulers.inside`."""
