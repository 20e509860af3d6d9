"""`python -m thresher.cli`, for where the `thresher` script is not on the path."""

from thresher.cli.application import main

main()
