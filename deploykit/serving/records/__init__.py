"""What is kept of requests where the user asks for it: an access log, an audit log, traces."""
