"""Other engines, through Ibis: DuckDB, PostgreSQL, MySQL, MariaDB and Spark, and others without a test."""
