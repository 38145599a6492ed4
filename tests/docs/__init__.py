"""The README and the pages below docs/: what they show runs, what they link to exists."""
