"""Other engines, through Ibis."""
