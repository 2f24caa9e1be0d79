"""Thirteen bytes over WSGI, as plainly as PEP 3333 has it."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world!"]
