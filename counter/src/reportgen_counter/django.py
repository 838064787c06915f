"""Django middleware: ``reportgen_counter.django.Middleware``, with the setting ``REPORTGEN_COUNTER``."""

from collections.abc import Awaitable, Callable
from functools import cache
from inspect import signature
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed

from reportgen_counter.counter import Counter
from reportgen_counter.middleware import environ_headers
from reportgen_counter.visits import Response


@cache
def _counter(**options: Any) -> Counter:
    """Return the counter of the process: Django may create a middleware more than once."""
    return Counter(**options)


class Middleware:
    """Counts the visits of a Django project, under WSGI and ASGI.

    ``REPORTGEN_COUNTER`` holds the arguments of :class:`Counter`. Without it, nothing is counted.

    Raises:
        ImproperlyConfigured: one of them is unknown, or ``url`` is missing.

    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        options = getattr(settings, "REPORTGEN_COUNTER", None)
        if not options:
            raise MiddlewareNotUsed("REPORTGEN_COUNTER is not set")
        hashable = {name: tuple(each) if isinstance(each, list) else each for name, each in options.items()}
        try:
            self._counter = _counter(**hashable)
        except TypeError as exc:
            names = ", ".join(signature(Counter).parameters)
            raise ImproperlyConfigured(f"REPORTGEN_COUNTER: {exc}. Its keys are: {names}") from None
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Return the response to a request."""
        response = self._get_response(request)
        return self._awaited(request, response) if self._is_async else self._counted(request, response)

    async def _awaited(self, request: Any, response: Awaitable[Any]) -> Any:
        return self._counted(request, await response)

    def _counted(self, request: Any, response: Any) -> Any:
        self._counter.count_response(_django_response, request, response)
        return response


def _django_response(request: Any, response: Any) -> Response:
    content_type = response.headers.get("Content-Type", "")
    headers = environ_headers(request.META)
    return Response(request.method, request.path, response.status_code, content_type, *headers)
