"""Formulas that several packages use, each with its source. Pure: no clock, no randomness, nothing of the house's own."""
