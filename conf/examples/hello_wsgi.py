"""Hello from WSGI, without a framework.

$ prefork conf/examples/hello_wsgi.py --workers max
$ prefork conf/examples/hello_wsgi.py --threads 8      when the app waits for a database
$ curl http://127.0.0.1:8000/
"""


def app(environ, start_response):
    """Answer one request: say the status and the headers, return the body in pieces of bytes."""
    body = b"Hello, world!"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
