"""The studio: a local page on which to look into networks, train them, and compare runs."""
