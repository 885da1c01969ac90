"""Reference images: fetched under guard, checked before they are decoded."""
