"""What tests of several folders share; `CONTRIBUTING.md` says which simulated fleet to take."""
