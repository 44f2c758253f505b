"""`python3 -m runtime capture`: photos for a bundle of one's own, taken on the device by key or by button."""
