"""The pod: the process that decides. It knows no torch."""
