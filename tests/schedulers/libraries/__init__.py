"""What runs in a library's own environment: one module each, for `tests.schedulers.inside`."""
