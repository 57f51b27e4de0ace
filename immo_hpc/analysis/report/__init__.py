"""The report: one self-contained HTML file for people."""

from immo_hpc.analysis.report.content import ReportContent
from immo_hpc.analysis.report.render import render_report, write_report

__all__ = ["ReportContent", "render_report", "write_report"]
