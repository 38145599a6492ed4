"""The endpoint over HTTP, without a framework and without a server."""
