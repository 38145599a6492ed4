"""The order of the I/O, and nothing else: what is asked of which port, and when."""
