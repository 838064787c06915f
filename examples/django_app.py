"""A Django project in one file, whose visits are counted.

pip install django gunicorn ../counter
gunicorn django_app:application
"""

import os
import secrets

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    MIDDLEWARE=["reportgen_counter.django.Middleware"],
    REPORTGEN_COUNTER={
        "url": os.environ.get("METRICS_URL", "sqlite:///metrics.db"),
        "timezone": "Europe/Berlin",
        "exclude": ["/admin/**"],
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_hex(),
)


def home(request: HttpRequest) -> HttpResponse:
    """Return a page."""
    return HttpResponse("<!doctype html><title>Home</title><p>This page is counted.</p>")


urlpatterns = [path("", home)]
application = get_wsgi_application()
asgi_application = get_asgi_application()  # for uvicorn
