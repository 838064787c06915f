"""A FastAPI application whose visits are counted.

pip install fastapi uvicorn ../counter
uvicorn fastapi_app:app
"""

import os

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from reportgen_counter import ASGIMiddleware, Counter

counter = Counter(os.environ.get("METRICS_URL", "sqlite:///metrics.db"), timezone="Europe/Berlin")
app = FastAPI()
app.add_middleware(ASGIMiddleware, counter=counter)


@app.get("/", response_class=HTMLResponse)
def home() -> str:
    """Return a page."""
    return "<!doctype html><title>Home</title><p>This page is counted.</p>"
