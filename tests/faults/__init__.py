"""Faults, everywhere: what is left behind is always one of two, and every answer is right."""
