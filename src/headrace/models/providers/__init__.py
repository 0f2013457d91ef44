"""The kinds of upstreams."""
