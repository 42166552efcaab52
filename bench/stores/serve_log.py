"""`sekisho`, with the queue on a log instead of SQLite: BENCH_SERVE=stores/serve_log.py for ../start."""

import sys

from log_queue import LogQueue

from sekisho.cli.main import main
from sekisho.supervise import worker

worker.Queue = LogQueue  # the one place where the parts are put together
sys.exit(main())
