"""HTTP from sockets to requests: connections, heads, bodies, TLS, and what answers."""
