"""The HTTP edge: decode, ask the layer, encode. No rule of the domain lives here."""
