"""What a worker sees of requests and answers, for the monitor."""
