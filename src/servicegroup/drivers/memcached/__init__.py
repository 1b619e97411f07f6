"""Driver memcached: an entry a member, which expires unless it is written again."""
