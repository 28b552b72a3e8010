"""The report of a run: one HTML file that needs no network."""

from striate.report.write import write_report

__all__ = ["write_report"]
