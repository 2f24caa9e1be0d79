"""A WSGI app under `wsgiref.validate`, which raises when the server (or the app) breaks PEP 3333."""

from wsgiref.validate import validator


def echo(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) or b"Hello, world!"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


app = validator(echo)
