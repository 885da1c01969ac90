"""What the system says of itself while it runs: logs and metrics."""
