"""Settings: the file, the environment and the options become one frozen Config."""
