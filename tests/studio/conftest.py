"""The fixtures of this folder: see :mod:`studio_running`."""

from studio_running import browser, client, patterns, photos, running, stranger, studio, trained, visit

__all__ = ["browser", "client", "patterns", "photos", "running", "stranger", "studio", "trained", "visit"]
