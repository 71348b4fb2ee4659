"""What happens while an artifact serves."""
