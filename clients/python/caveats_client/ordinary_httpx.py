"""The ordinary `httpx` beside `httpx2`, with which this package sends: auth classes, transports and URLs of both.

`httpx2` grew out of `httpx`, and their classes have the same names. A client of either asks with `isinstance` for classes
of its own, so an auth class here counts as one of both, and a transport of the ordinary httpx is wrapped. Never imports
httpx: whoever gives something of it has imported it. Knows no token and no endpoint.
"""

from __future__ import annotations

import functools
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class SyncTransport(Protocol):
    """A transport for a `Client` of either httpx, such as `HTTPTransport` and `MockTransport`."""

    def handle_request(self, request: Any, /) -> Any:
        """The response to a request."""

    def close(self) -> None:
        """Close the connections."""


class AsyncTransport(Protocol):
    """A transport for an `AsyncClient` of either httpx."""

    async def handle_async_request(self, request: Any, /) -> Any:
        """As `SyncTransport.handle_request`."""

    async def aclose(self) -> None:
        """Close the connections."""


class _OtherUrl(Protocol):
    @property
    def raw_path(self) -> bytes: ...


AnyUrl: TypeAlias = str | httpx2.URL | _OtherUrl
"""An address as text, or a `URL` of either httpx."""


def same_named(name: str) -> type[Any] | None:
    """The class of the ordinary httpx with this name; None if nobody has imported httpx."""
    found = getattr(sys.modules.get("httpx"), name, None)
    return found if isinstance(found, type) else None


def is_ordinary(value: object, *names: str) -> bool:
    """Whether `value` is an instance of one of these classes of the ordinary httpx."""
    classes = tuple(found for found in map(same_named, names) if found is not None)
    return isinstance(value, classes)


def url_of(address: AnyUrl) -> httpx2.URL:
    """`address` as the URL that this package computes with. Raises `httpx2.InvalidURL`, `TypeError`."""
    return httpx2.URL(str(address) if is_ordinary(address, "URL") else address)  # type: ignore[arg-type]  # others are a TypeError


# Classes that count as the ordinary httpx's


@functools.cache
def _joined(own: type[Any], theirs: tuple[type[Any], ...]) -> type[Any]:
    return type(own.__name__, (own, *theirs), {"__module__": own.__module__})


def _class_with(*names: str) -> property:
    """A `__class__` for `isinstance`: the object's own class, joined with the ordinary httpx's of these names.

    `isinstance` looks at the type of an object first, then at its `__class__`. So the order of imports does not matter.
    """

    def find(value: object) -> type[Any]:
        own: type[Any] = type(value)
        theirs = tuple(
            found for found in map(same_named, names) if found is not None and not issubclass(own, found)
        )
        return _joined(own, theirs) if theirs else own  # type: ignore[arg-type]  # a class is hashable

    return property(find)


class Auth(httpx2.Auth):
    """The base of an auth class that clients of both take, as `httpx2.Auth` is for its own."""

    if TYPE_CHECKING:

        def __call__(self, request: Any) -> Any:
            """For type checkers alone, which let an httpx client take any function from a request to a request."""

    else:
        __class__ = _class_with("Auth")


class ByteStream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The base of a stream for a response of either httpx."""

    if not TYPE_CHECKING:
        __class__ = _class_with("SyncByteStream", "AsyncByteStream")


# Transports


def sync_transport(given: SyncTransport | None) -> httpx2.BaseTransport | None:
    """`given`, for an `httpx2.Client`."""
    return _Wrapped(given) if is_ordinary(given, "BaseTransport") else given  # type: ignore[return-value]  # httpx2's own


def async_transport(given: AsyncTransport | None) -> httpx2.AsyncBaseTransport | None:
    """`given`, for an `httpx2.AsyncClient`."""
    return _AsyncWrapped(given) if is_ordinary(given, "AsyncBaseTransport") else given  # type: ignore[return-value]  # httpx2's own


def has_connections(transport: object) -> bool:
    """Whether this is a transport, of either httpx, that keeps connections of its own."""
    own = httpx2.HTTPTransport | httpx2.AsyncHTTPTransport
    return isinstance(transport, own) or is_ordinary(transport, "HTTPTransport", "AsyncHTTPTransport")


class _Wrapped(httpx2.BaseTransport):
    """A sync transport of the ordinary httpx."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response; an error is httpx2's of the same name."""
        with _errors():
            return _response(self._transport.handle_request(_request(request, request.read())))

    def close(self) -> None:
        """Close the transport."""
        self._transport.close()


class _AsyncWrapped(httpx2.AsyncBaseTransport):
    """An async transport of the ordinary httpx."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As `_Wrapped.handle_request`."""
        theirs = _request(request, await request.aread())
        with _errors():
            return _response(await self._transport.handle_async_request(theirs))

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()


class _Stream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The body of a response of the ordinary httpx."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with _errors():
            yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors():
            async for chunk in self._stream:
                yield chunk

    def close(self) -> None:
        """Close the response's connection, or give it back."""
        self._stream.close()

    async def aclose(self) -> None:
        """As `close`."""
        await self._stream.aclose()


def _request(request: httpx2.Request, content: bytes) -> Any:
    import httpx  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415  # a transport of it was given

    return httpx.Request(
        request.method,
        str(request.url),
        headers=request.headers.raw,
        stream=httpx.ByteStream(content),
        extensions=request.extensions,
    )


def _response(response: Any) -> httpx2.Response:
    return httpx2.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=_Stream(response.stream),
        extensions=response.extensions,
    )


@contextmanager
def _errors() -> Iterator[None]:
    """Raise httpx2's error of the same name for one of the ordinary httpx."""
    import httpx  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415  # a transport of it was given

    try:
        yield
    except httpx.RequestError as error:
        same = getattr(httpx2, type(error).__name__, None)
        if isinstance(same, type) and issubclass(same, httpx2.RequestError):
            raise same(str(error)) from error
        raise httpx2.TransportError(str(error)) from error
