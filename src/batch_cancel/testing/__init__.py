"""
The proof, for you to run: the conformance kit for adapters, and the explorer of the protocol.

Nothing is imported here, so that each part needs what it needs and no more: `conformance`,
`state_machine` and `strategies` need pytest and hypothesis (the extra `testing`).
"""
