"""The HTTP interface: the one place where our errors become replies."""
