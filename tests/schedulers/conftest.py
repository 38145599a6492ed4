"""What `make test` leaves to `make schedulers`, since it makes no environment for it."""

from __future__ import annotations

import os

EVERYTHING = os.environ.get("BATCH_CANCEL_TEST_LIBRARIES") == "all"

collect_ignore = [] if EVERYTHING else ["test_gated.py", "test_procrastinate.py"]
