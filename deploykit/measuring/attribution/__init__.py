"""What an answer rests on: parts of an example are hidden and the model is run again; in child processes."""
