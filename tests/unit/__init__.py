"""The rules, and the parts one by one, without any server."""
