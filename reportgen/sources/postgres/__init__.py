"""PostgreSQL, and other databases that speak its protocol."""
