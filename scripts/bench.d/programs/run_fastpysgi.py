"""Start fastpysgi through its API: run_fastpysgi.py MODULE:APP PORT WORKERS."""

from __future__ import annotations

import importlib
import sys

import fastpysgi  # type: ignore[import-not-found]  # only in .bench/

module, _, name = sys.argv[1].partition(":")
app = getattr(importlib.import_module(module), name)
fastpysgi.run(app, host="127.0.0.1", port=int(sys.argv[2]), workers=int(sys.argv[3]))
