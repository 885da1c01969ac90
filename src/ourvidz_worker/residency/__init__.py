"""Residency: what the device holds, who holds it, and what to move when room is needed."""
