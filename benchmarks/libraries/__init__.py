"""The peers: each runs in the environment of its library, and cancels as its manual says."""
