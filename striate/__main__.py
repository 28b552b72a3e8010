"""``python -m striate`` is the command ``striate``."""

import sys

from striate.cli import main

if __name__ == "__main__":
    sys.exit(main())
