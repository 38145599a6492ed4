"""Examples; each is driven by a test."""
