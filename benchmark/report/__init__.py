"""The report: tables, figures and the HTML page."""

from benchmark.report.write import write_report

__all__ = ["write_report"]
