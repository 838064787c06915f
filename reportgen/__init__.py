"""reportgen: scheduled static reports for homemade website analytics."""

__version__ = "0.1.0"
