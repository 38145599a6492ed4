"""The documentation site: its configuration, and what is generated from the source."""
