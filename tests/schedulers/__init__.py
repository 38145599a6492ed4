"""Real clients and real workers of other people's libraries, each in an environment of its own."""
