"""From rows to the figures of each window."""
