"""The embedded server: one data plane under thin protocol layers."""
