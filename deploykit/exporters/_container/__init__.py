"""An image of deploykit's own server: what the layouts for containers share."""
