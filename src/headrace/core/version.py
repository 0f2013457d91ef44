"""The version of this package; the build reads it from here."""

VERSION = "0.1.0"
"""Semantic version, as in the changelog."""
