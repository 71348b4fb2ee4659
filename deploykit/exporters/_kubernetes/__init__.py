"""Kubernetes objects: what the layouts for clusters share."""
