"""Where foreign models are parsed and run: supervised child processes, and the gate that looks at bytes first."""
