"""One request to an endpoint, from its bytes to a checked answer, under one deadline. Pure of HTTP."""
