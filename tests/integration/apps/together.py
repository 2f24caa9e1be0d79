"""WSGI: no request is answered before four are inside, each on a thread of its own."""

import threading

inside = threading.Barrier(4, timeout=10)


def app(environ, start_response):
    inside.wait()
    body = threading.current_thread().name.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
