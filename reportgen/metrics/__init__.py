"""Compute the figures of each window from what the source returns."""
