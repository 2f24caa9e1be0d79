"""What is answered to a request that will not be served, and to bytes that are none.

Pure: it judges bytes, it decides nothing about the connection.
"""

from __future__ import annotations

import re

import httptools

_REQUEST_LINE = re.compile(rb"(?:\r\n)?[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [!-~]+ HTTP/1\.[01]\r\n")


class Refusal(Exception):  # noqa: N818 - a verdict about the client, not an error of ours
    """The request will not be served. `status` is the answer; the connection closes after it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def judge_malformed(error: Exception, data: bytes) -> int:
    """The status for what llhttp would not parse: 501 for a method it does not know (RFC 9110 §9.1), else 400.

    llhttp refuses at the first byte that no method has, before it can be seen whether a method or garbage follows.
    So this looks at a read that begins with a whole request line, which is how clients send them.
    """
    line = _REQUEST_LINE.match(data) if isinstance(error, httptools.HttpParserInvalidMethodError) else None
    if line is None:
        return 400
    try:
        httptools.HttpRequestParser(None).feed_data(line[0])
    except httptools.HttpParserInvalidMethodError:
        return 501
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    return 400  # the first line is a method's that is known: the one refused came later in the same read
