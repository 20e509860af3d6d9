"""`odp_test.py --sleep_time=S`: does nothing for so many seconds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="odp_test.py", description=__doc__)
    parser.add_argument("--sleep_time", type=float, required=True)
    time.sleep(max(0.0, parser.parse_args(argv).sleep_time))
    return 0
