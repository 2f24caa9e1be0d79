"""What a connection needs to know of the configuration, and what it needs to know of its worker. Plain data."""

from __future__ import annotations

import msgspec

from prefork.config.model import Config, WebSocketDrain
from prefork.config.peers import LOCAL


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How one worker serves. Times in seconds, sizes in bytes; 0 for a limit means none."""

    threads: int = 1
    root_path: str = ""
    keep_alive_s: float = 5.0
    header_timeout_s: float = 10.0
    request_timeout_s: float = 0.0
    min_body_rate_bytes: int = 240
    """Per second, of a request's body."""
    limit_request_line_bytes: int = 8190
    limit_request_fields: int = 100
    limit_request_field_size_bytes: int = 8190
    limit_request_body_bytes: int = 0
    server_header: bool = True
    date_header: bool = True
    proxy_protocol: bool = False
    """Trusted peers begin with a header that says for whom they speak."""
    request_id: bool = False
    limit_concurrency: int = 0
    forwarded_headers: tuple[str, ...] = ()
    """The fields that are believed from trusted peers, in lower case."""
    forwarded_allow_ips: tuple[str, ...] = LOCAL
    """For `trust.TrustedPeers`."""
    ssl_handshake_timeout_s: float = 10.0
    ws_max_size_bytes: int = 16 * 1024 * 1024
    ws_ping_interval_s: float = 20.0
    ws_ping_timeout_s: float = 20.0
    ws_per_message_deflate: bool = True
    drain_websockets: WebSocketDrain = "close"
    slow_s: float = 0.0
    """A request that nobody has begun to answer after so long is told of."""
    graceful_timeout_s: float = 30.0
    """All that a drain may take; what is spread over time then fits into it."""


def needs_attendant(settings: ServeSettings) -> bool:
    """Whether requests are more than answered; see `attendant`. The access log comes later, and needs one too."""
    return bool(settings.request_id or settings.limit_concurrency or settings.forwarded_headers)


def settings_of(config: Config) -> ServeSettings:
    """The part of the configuration that serving needs."""
    return ServeSettings(
        threads=config.threads,
        root_path=config.root_path,
        keep_alive_s=config.keep_alive_s,
        header_timeout_s=config.header_timeout_s,
        request_timeout_s=config.request_timeout_s,
        min_body_rate_bytes=config.min_body_rate_bytes,
        limit_request_line_bytes=config.limit_request_line_bytes,
        limit_request_fields=config.limit_request_fields,
        limit_request_field_size_bytes=config.limit_request_field_size_bytes,
        limit_request_body_bytes=config.limit_request_body_bytes,
        server_header=config.server_header,
        date_header=config.date_header,
        proxy_protocol=config.proxy_protocol,
        ssl_handshake_timeout_s=config.ssl_handshake_timeout_s,
        request_id=config.request_id,
        limit_concurrency=config.limit_concurrency,
        forwarded_headers=config.forwarded_headers,
        forwarded_allow_ips=config.forwarded_allow_ips,
        ws_max_size_bytes=config.ws_max_size_bytes,
        ws_ping_interval_s=config.ws_ping_interval_s,
        ws_ping_timeout_s=config.ws_ping_timeout_s,
        ws_per_message_deflate=config.ws_per_message_deflate,
        drain_websockets=config.drain_websockets,
        slow_s=config.slow_s,
        graceful_timeout_s=config.graceful_timeout_s,
    )
