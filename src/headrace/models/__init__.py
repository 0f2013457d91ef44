"""Talking to models: policies as pure classes that take `now` and events, and the router that composes them.

Every `now` in this package is in seconds of a clock that never goes back (`Clock.monotonic()`), unless it says
otherwise.
"""
