"""Driver etcd: leases and keys through etcd's JSON gateway."""
