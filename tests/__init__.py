"""The tests of batch_cancel."""
