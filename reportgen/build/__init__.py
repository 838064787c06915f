"""One build: the pipeline, and what is checked before and after it."""
