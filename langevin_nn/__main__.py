"""`python -m langevin_nn`: the command line without its script."""

import sys

from langevin_nn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
