"""Code that runs one model file on devices: what it takes, how examples are prepared, which operators it needs."""
