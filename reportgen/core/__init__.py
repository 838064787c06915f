"""What three or more packages need: errors, calendar, schedules, logs, child processes, text."""
