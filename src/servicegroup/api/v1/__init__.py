"""Our own API, /v1: its routes and its OpenAPI document; ``bodies`` has what they give and take."""
