"""Real servers as child processes of the tests: started, frozen, killed and restarted at will."""
