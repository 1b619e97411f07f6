"""The command line: parse, ask the layer or a control plane, print. No rule lives here."""
