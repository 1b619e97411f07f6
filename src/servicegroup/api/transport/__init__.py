"""The way in: the HTTP server, its connections with their bounds, and TLS."""
