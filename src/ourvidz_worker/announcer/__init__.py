"""Announcers: they tell an application where this pod can be reached."""
