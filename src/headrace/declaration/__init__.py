"""Declaring an app: tables, events, rollups and views, checked on the line that declares them."""
