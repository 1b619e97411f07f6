"""What a running control plane does beside answering: intake, observer, feed, metrics."""
