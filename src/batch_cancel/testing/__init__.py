"""
The conformance kit for adapters, and the explorer of the protocol.

This module imports none of them, because their requirements differ: `conformance`, `state_machine`
and `strategies` need pytest and hypothesis (the extra `testing`).
"""
