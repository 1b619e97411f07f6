"""Metrics of a control plane: what is counted, and how Prometheus and OpenTelemetry name it."""
