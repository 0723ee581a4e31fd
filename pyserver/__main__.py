"""`python -m pyserver`, and the command."""

import gc
import sys


def main() -> int:
    """Serve what the command line says; returns the exit code of the process."""
    # Of what an import makes nothing is garbage, and looking for it takes a tenth of the time that the imports take.
    gc.disable()
    from pyserver import cli

    gc.enable()
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
