"""`python -m benchmark.speed`: what is fast here, against the plain way of doing it."""
