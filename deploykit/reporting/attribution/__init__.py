"""What an answer rests on: values, words and charts."""
