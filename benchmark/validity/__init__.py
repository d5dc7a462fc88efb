"""Which quality number to believe: each is tried on real images damaged in a known order."""
