"""Rows -> tables, figures and one page; it reads results and measures nothing."""
