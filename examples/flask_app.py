"""A Flask application whose visits are counted.

pip install flask ../counter
flask --app flask_app run
"""

import os

from flask import Flask

from reportgen_counter import Counter, WSGIMiddleware

counter = Counter(os.environ.get("METRICS_URL", "sqlite:///metrics.db"), timezone="Europe/Berlin")
app = Flask(__name__)
app.wsgi_app = WSGIMiddleware(app.wsgi_app, counter)


@app.get("/")
def home() -> str:
    """Return a page."""
    return "<!doctype html><title>Home</title><p>This page is counted.</p>"
