"""`python -m pyserver`."""

import sys

from pyserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
