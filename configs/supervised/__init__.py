"""Supervised learning on streams of labelled images, through the update that agents have."""
