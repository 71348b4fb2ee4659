"""Export layouts. One file each."""
