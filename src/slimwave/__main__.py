"""`python -m slimwave` is `slimwave`."""

import sys

from slimwave.cli import main

sys.exit(main())
