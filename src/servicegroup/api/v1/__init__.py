"""Our own API, /v1: its routes, the bodies it takes and returns, and its OpenAPI document."""
