"""Messages of other servers, from their published definitions."""
