"""What a foreign service embeds: join, report, heartbeat, leave; light, and never in the way."""
