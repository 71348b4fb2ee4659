"""What the format of frozen graphs consists of."""
