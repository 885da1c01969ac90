"""Supabase: the one client that storage, rows and announcer share."""
