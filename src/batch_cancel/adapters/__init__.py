"""Everything that talks to the world: one technology a module, strangers to each other."""
