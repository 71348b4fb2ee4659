"""Running what was planned: build, evaluate, time, resume."""
