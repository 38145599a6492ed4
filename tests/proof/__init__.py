"""The proof: what was explored, and what was planted and found."""
