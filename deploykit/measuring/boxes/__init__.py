"""A detector's outputs: what form they have, and the detections that they stand for."""
