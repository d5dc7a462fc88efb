"""`python -m benchmark.report`: tables, figures and the page again, from the run folders."""

import sys

from benchmark.report.command import main

if __name__ == "__main__":
    sys.exit(main())
