"""The monitor of a server: what workers see, what their parent makes of it, and how to ask."""
