"""Running a declared app: the engine that writes, the readers beside it, and what wires them together."""
