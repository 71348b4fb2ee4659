"""Ways of deploying an artifact: which commands of other tools they take. One file each."""
