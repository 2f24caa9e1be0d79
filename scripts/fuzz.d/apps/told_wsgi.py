"""Reads what it is told to read, and says in its answer what it was asked."""


def app(environ, start_response):
    path = environ["PATH_INFO"]
    size = 0 if path.startswith("/unread") else len(environ["wsgi.input"].read())
    headers = [("X-Method", environ["REQUEST_METHOD"]), ("X-Query", environ["QUERY_STRING"] or "-")]
    if path.startswith("/close"):
        headers.append(("Connection", "close"))
    start_response("200 OK", headers)
    if path.startswith("/stream"):
        return iter([b"part " * 100] * 3 + [b"%d" % size])
    return [b"%d" % size]
