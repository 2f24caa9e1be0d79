"""Takes $IMPORT_S seconds to import."""

import os
import time

from hello_asgi import app

time.sleep(float(os.environ.get("IMPORT_S", "2")))

__all__ = ["app"]
