"""Nova's API as its clients speak it: services, hosts, availability zones, microversions."""
