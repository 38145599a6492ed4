"""What the contract says, in every world."""
