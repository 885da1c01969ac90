"""Supabase: the one client that storage, rows and announcer share.

`supabase.client` is loaded apart, because it brings the network library with it.
"""
