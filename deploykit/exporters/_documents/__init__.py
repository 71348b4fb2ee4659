"""What every artifact says of itself: a card for people, and a bill of materials for machines."""
