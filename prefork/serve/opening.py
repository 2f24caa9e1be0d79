"""Put an app behind the `Service` of its interface: the only place that knows all four.

Each is imported when it is asked for, so a stream server never loads the HTTP side.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from prefork.config.model import Interface
from prefork.serve.service import Service
from prefork.serve.settings import ServeSettings, needs_attendant

if TYPE_CHECKING:
    from prefork.serve.tls_facts import Tls

HTTP_INTERFACES = frozenset(("asgi", "wsgi"))


def open_service(
    app: object,
    interface: Interface,
    settings: ServeSettings,
    loop: asyncio.AbstractEventLoop,
    tls: Tls | None = None,
) -> Service:
    """The service of one worker, on its `loop`, behind a door if it needs one; nothing of the app's has run yet."""
    service = _open_bare(app, interface, settings, loop)
    if tls is None and not settings.proxy_protocol:
        return service
    from prefork.serve.entrance import Entrance  # noqa: PLC0415

    speaks_http = interface in HTTP_INTERFACES
    if tls is not None and speaks_http:
        tls.context.set_alpn_protocols(["http/1.1"])
    return Entrance(service, settings, loop, tls, speaks_http=speaks_http)


def _open_bare(
    app: object, interface: Interface, settings: ServeSettings, loop: asyncio.AbstractEventLoop
) -> Service:
    # The interface was told from the app's signature at load, or by the user: no type can say more.
    callee = cast("Any", app)
    match interface:
        case "asgi":
            from prefork.serve.asgi import AsgiService  # noqa: PLC0415

            return AsgiService(callee, settings, loop)
        case "wsgi":
            from prefork.serve.wsgi import WsgiService  # noqa: PLC0415

            return WsgiService(callee, settings, loop)
        case "stream":
            from prefork.serve.stream import StreamService  # noqa: PLC0415

            return StreamService(callee, settings, loop)
        case "protocol":
            from prefork.serve.protocol import ProtocolService  # noqa: PLC0415

            return ProtocolService(callee, settings, loop)


def import_service(interface: Interface, settings: ServeSettings, *, has_door: bool = False) -> None:
    """Only import what `open_service` will need, so that processes forked from this one share it."""
    if has_door:
        import prefork.serve.entrance  # noqa: PLC0415
    if interface in ("asgi", "wsgi") and needs_attendant(settings):
        import prefork.serve.attendant  # noqa: PLC0415
    match interface:
        case "asgi":
            import prefork.serve.asgi  # noqa: PLC0415
        case "wsgi":
            import prefork.serve.wsgi  # noqa: PLC0415
        case "stream":
            import prefork.serve.stream  # noqa: PLC0415
        case "protocol":
            import prefork.serve.protocol  # noqa: F401, PLC0415
