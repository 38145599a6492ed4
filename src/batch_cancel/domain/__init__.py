"""The rules of cancelling a batch job: pure values and pure functions, no I/O of any kind."""
