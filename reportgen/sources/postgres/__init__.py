"""PostgreSQL, and the databases that speak its protocol."""
