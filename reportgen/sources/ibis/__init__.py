"""Other engines, through Ibis: Spark, Trino, ClickHouse, BigQuery, Snowflake, MySQL and more."""
