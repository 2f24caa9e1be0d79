"""`python -m prefork` is the same program as `prefork`."""

import sys

from prefork.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
