"""Generated tables and mappings: every step on them is right, or refused with nothing changed."""
