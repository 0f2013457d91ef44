"""The dialects that models speak, as pure code: reading answers and streams, and saying one in another."""
