"""The text of a first prefork.toml: what most services set, as comments where the default is good."""

from __future__ import annotations

import msgspec

from prefork.cli.init import Service

_TEMPLATE = """\
# prefork.toml: how to run {name}. Every option, with its default: prefork config, prefork --help.
#
#   prefork                          serve it here          prefork start                      in the background
#   prefork check                    would it start?        prefork --profile production       with the table below
#
# A flag wins over PREFORK_* variables, these over this file. Durations and sizes take units: 30s 5m, 512K 1G.

app = {app}
name = {quoted_name}
bind = ["127.0.0.1:8000"]          # also ":8000", "unix:/run/{name}.sock"; several of them
# workers = "max"                  # one for each CPU that we may use; the default is 1
# threads = 8                      # WSGI: a pool of threads in each worker
# env-file = ".env"                # KEY=VALUE lines for the app

# graceful-timeout = "30s"         # to finish what is in flight at a stop or a reload
# request-timeout = "60s"          # from a request's head to the end of its answer, else 504
# max-requests = 10000             # then a worker is replaced, its successor ready first
# max-memory = "512M"              # the same when it holds more memory of its own
# access-log = "-"                 # a line for each request: a path, or - for standard output
# log-format = "json"              # one object a line
# forwarded-allow-ips = ["10.0.0.0/8"]    # proxies that may say for whom they speak, beside this machine

# --- Used with --profile NAME, or PREFORK_PROFILE=NAME: its keys win over those above

[profile.production]
workers = "max"

[profile.development]
reload = true                      # when a file changes

# --- Several apps in one file: the keys above, without app and name, are then the defaults of all
#
# [app.shop]
# app = "shop.main:app"
# bind = ":8000"
#
# [app.api]
# app = "api.main:app"
# bind = ":8001"
"""


def make_toml(service: Service) -> str:
    """A file that `prefork check` accepts as it is."""
    return _TEMPLATE.format(name=service.name, app=_quote(service.app), quoted_name=_quote(service.name))


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string: https://toml.io/en/v1.0.0#string
    return msgspec.json.encode(text).decode()
