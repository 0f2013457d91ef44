"""Formulas that several packages use, each with its source. Pure: no clock, no randomness."""
