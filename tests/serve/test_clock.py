"""The Date line."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from prefork.serve.clock import render_date


def test_the_date_is_an_imf_fixdate_that_others_can_read() -> None:
    text = render_date()
    assert parsedate_to_datetime(text).strftime("%a, %d %b %Y %H:%M:%S GMT") == text
