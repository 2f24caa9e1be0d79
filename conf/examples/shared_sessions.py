"""Sessions and a rate limit that hold over all workers and all machines, in Redis or Valkey.

$ pip install 'prefork[redis]'
$ REDIS_URL=redis://127.0.0.1:6379/0 prefork conf/examples/shared_sessions.py --workers max
$ curl -c jar -b jar http://127.0.0.1:8000/     how often you were here; whoever answers knows

Behind a proxy the limit counts its clients only if prefork believes the proxy: see --forwarded-allow-ips.
"""

import json
import os
import secrets
from http.cookies import CookieError, SimpleCookie

from redis.asyncio import from_url
from redis.exceptions import RedisError

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
SESSION_S = 14 * 24 * 3600
REQUESTS = int(os.environ.get("RATE_LIMIT", "100"))
WINDOW_MS = 60_000

# One round trip, and atomic: were the two commands sent one after the other, a worker that dies between them would
# leave a counter that never expires, and a client that is locked out for ever.
COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {count, redis.call('PTTL', KEYS[1])}
"""

# Making the client connects nowhere, so it may happen before the fork; each worker then opens connections of its own.
store = from_url(URL, decode_responses=True, socket_timeout=1.0, socket_connect_timeout=1.0)
count_request = store.register_script(COUNT)


async def app(scope, receive, send):
    """Count the request, find the session, answer."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await store.aclose()
        await send({"type": "lifespan.shutdown.complete"})
        return
    wait_s = await find_wait(scope["client"][0] if scope["client"] else "unix")
    if wait_s:
        await answer(send, 429, {"error": "too many requests"}, [(b"retry-after", b"%d" % wait_s)])
        return
    session = read_session(dict(scope["headers"]).get(b"cookie", b""))
    headers = []
    if session is None:
        session = secrets.token_urlsafe(32)
        # Add "; Secure" where there is TLS.
        cookie = f"session={session}; Max-Age={SESSION_S}; Path=/; HttpOnly; SameSite=Lax"
        headers.append((b"set-cookie", cookie.encode()))
    try:
        async with store.pipeline(transaction=True) as together:
            together.hincrby(f"session:{session}", "visits")
            together.expire(f"session:{session}", SESSION_S)
            visits, _ = await together.execute()
    except RedisError:
        await answer(send, 503, {"error": "no sessions at the moment"}, [(b"retry-after", b"1")])
        return
    await answer(send, 200, {"visits": visits, "worker": os.getpid()}, headers)


async def find_wait(client):
    """How many seconds this client has to wait; 0 if it need not."""
    try:
        count, left_ms = await count_request(keys=[f"rate:{client}"], args=[WINDOW_MS])
    except RedisError:
        return 0  # no limit is better than no service
    return 0 if count <= REQUESTS else max(1, -(-left_ms // 1000))


def read_session(cookies):
    """The session's name, if the client has one of ours: 43 characters. Whatever else it sends is nobody's key."""
    try:
        found = SimpleCookie(cookies.decode("latin-1")).get("session")
    except CookieError:
        return None
    return found.value if found is not None and len(found.value) == 43 and found.value.isascii() else None


async def answer(send, status, told, headers):
    """JSON."""
    body = json.dumps(told).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
