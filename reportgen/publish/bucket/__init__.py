"""A release in an object store: upload, index, download."""
