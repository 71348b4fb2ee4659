"""What techniques share that train."""
