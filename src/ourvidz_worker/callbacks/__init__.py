"""Callbacks: what we owe a caller, delivered from a durable outbox."""
