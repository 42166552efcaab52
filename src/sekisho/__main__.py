"""`python -m sekisho`."""

import sys

from sekisho.cli.main import main

sys.exit(main())
