"""The process that stays: scheduler, worker and web server."""
