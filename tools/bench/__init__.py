"""The benchmark: real processes on loopback, driven at a set rate, and one table of figures."""
