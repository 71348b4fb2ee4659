"""What happens while an artifact serves: reference profiles, drift, unusual requests, accuracy."""
