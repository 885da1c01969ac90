"""Configuration to live objects, one module for each process."""
