"""The commands, and all that is printed."""
