"""Admission policies: they may refuse a request, never rewrite it."""
