"""Many sites: build them all, and the page over them."""
