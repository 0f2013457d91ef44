"""The demo: a food-delivery city, and what it costs two agents to look at it through a copy that is minutes old."""
