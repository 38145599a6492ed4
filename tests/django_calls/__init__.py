"""An app of an adopter's: campaigns of calls, in models whose names are not the library's."""
