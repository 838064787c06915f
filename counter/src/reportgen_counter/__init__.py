"""Counts the visits of a web application into a table ``metrics(date, path, visits)``.

``Counter`` holds the visits and writes them. ``ASGIMiddleware``, ``WSGIMiddleware`` and, for Django,
``reportgen_counter.django.Middleware`` pass responses to it.
"""

from reportgen_counter.counter import Counter
from reportgen_counter.middleware import ASGIMiddleware, WSGIMiddleware

__all__ = ["ASGIMiddleware", "Counter", "WSGIMiddleware"]
