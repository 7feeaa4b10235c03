"""The bench's result as one HTML page that needs nothing else: style and pictures are in it, and no script."""

from harmony_ls.cli.bench.inline.report.page import render

__all__ = ["render"]
