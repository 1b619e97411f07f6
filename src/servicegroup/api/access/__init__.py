"""Access: who asks, by which credentials, and what they may."""
