"""Driver zookeeper: an ephemeral node a member, seen by watches."""
